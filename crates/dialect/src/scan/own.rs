//! Takes members out of objects so that commas stay right.

use std::ops::Range;

/// Follows the members of one object and collects what to cut to take some of them out.
#[derive(Default)]
pub(super) struct Cuts {
    /// Where the run of members that go begins.
    run: Option<usize>,
    /// Where the last member that stays ends.
    kept: Option<usize>,
    /// Where the last member ends.
    end: usize,
}

impl Cuts {
    /// The member from `start` to `end` stays. Cuts go up to the next member that stays, comma included.
    pub(super) fn keep(&mut self, start: usize, end: usize, cuts: &mut Vec<Range<usize>>) {
        if let Some(run) = self.run.take() {
            cuts.push(run..start);
        }
        self.kept = Some(end);
        self.end = end;
    }

    /// The member from `start` to `end` goes.
    pub(super) fn cut(&mut self, start: usize, end: usize) {
        self.run.get_or_insert(start);
        self.end = end;
    }

    /// The object ends. The last cut has no next member, so it goes back to the one before. Returns whether anything stays.
    pub(super) fn finish(self, cuts: &mut Vec<Range<usize>>) -> bool {
        if let Some(run) = self.run {
            cuts.push(self.kept.unwrap_or(run)..self.end);
        }
        self.kept.is_some()
    }
}
