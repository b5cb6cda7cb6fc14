//! Progress on a terminal: a bar with what is done, the rate and the time left. Where nobody looks,
//! nothing is drawn.

use be8_events::Position;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Something that gets on.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// What it is called.
    pub(super) fn new(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style = "{msg:12} {wide_bar} {human_pos}/{human_len} events  {per_sec}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self(bar)
    }

    /// The log up to `reached` is done.
    pub(super) fn at(&self, reached: Position, target: Position) {
        // The rate is that of this run, wherever it goes on from.
        if self.0.length() == Some(0) {
            self.0.set_position(reached.0.cast_unsigned());
            self.0.reset_eta();
        }
        self.0.set_length(target.0.cast_unsigned());
        self.0.set_position(reached.0.cast_unsigned());
    }

    /// Something that cannot be counted.
    pub(super) fn say(&self, what: impl Into<String>) {
        self.0.set_message(what.into());
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}
