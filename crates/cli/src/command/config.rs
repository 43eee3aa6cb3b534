//! `herd config`: every setting, its value and where that comes from.

use node::settings::Settings;
use proto::view::SettingView;

use super::{lines, not_understood, typed};
use crate::World;
use crate::door::Door;
use crate::failure::Failure;
use crate::show::{Align, Table, Tone};

pub(super) fn config(
    door: &Door,
    settings: &Settings,
    warnings: &[String],
    json: bool,
    world: &mut World<'_>,
) -> Result<(), Failure> {
    let answer = match door.get("/fleet/config") {
        Ok(answer) => answer,
        // What a Herd would do that is started here and now is just as good an answer.
        Err(Failure::NotRunning(why)) => {
            writeln!(world.err, "{why}\nThese settings would be used if Herd were started here:")?;
            for warning in warnings {
                writeln!(world.err, "{warning}")?;
            }
            serde_json::to_value(settings.table()).map_err(not_understood)?
        }
        Err(other) => return Err(other),
    };
    if json {
        return lines(world, &answer);
    }
    let rows: Vec<SettingView> = typed(answer)?;
    let mut table = Table::new(&[("SETTING", Align::Left), ("VALUE", Align::Left), ("FROM", Align::Left)]);
    for row in &rows {
        let tone = if row.source == "default" { Tone::Faint } else { Tone::Plain };
        let value = if row.value.is_empty() { "–".to_owned() } else { row.value.clone() };
        let later = if row.about.ends_with("(not in this version yet)") { ", no effect yet" } else { "" };
        table.toned([(Tone::Plain, row.name.clone()), (Tone::Plain, value), (tone, format!("{}{later}", row.source))]);
    }
    let text = table.text("", world.paint());
    Ok(world.out.write_all(text.as_bytes())?)
}
