//! placeholder
pub(crate) fn all(_e: Option<&parts::engine::Engine>, _t: &mut crate::tally::Tally) -> anyhow::Result<()> {
    Ok(())
}
