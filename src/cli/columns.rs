//! Text for people: aligned columns, with colour where it is read on a terminal.
//!
//! Not `comfy-table`: no table here has borders or wraps, and what is printed stays as it is in the snapshots.

use std::io::IsTerminal;

use anstyle::{AnsiColor, Style};

/// How a cell is shown on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// A heading, or what matters less.
    Quiet,
    /// What matters.
    Strong,
    /// Something good or new.
    Good,
    /// Something bad or gone.
    Bad,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Plain => Style::new(),
            Self::Quiet => Style::new().dimmed(),
            Self::Strong => Style::new().bold(),
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
        }
    }
}

/// A cell of a table.
pub(super) type Cell = (String, Tone);

/// Whether standard output is read by somebody who sees colours (<https://no-color.org>).
pub(super) fn coloured() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A cell alone.
pub(super) fn styled((text, tone): &Cell, colour: bool) -> String {
    let style = if colour { tone.style() } else { Style::new() };
    format!("{style}{text}{style:#}")
}

/// Rows as aligned columns, under a heading.
pub(super) fn table(heading: &[&str], rows: &[Vec<Cell>], colour: bool) -> String {
    let heading: Vec<Cell> = heading.iter().map(|text| ((*text).to_owned(), Tone::Quiet)).collect();
    let widths: Vec<usize> = (0..heading.len())
        .map(|column| {
            let cells = std::iter::once(&heading).chain(rows).filter_map(|row| row.get(column));
            cells.map(|(text, _)| text.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for ((text, tone), width) in row.iter().zip(&widths) {
            let style = if colour { tone.style() } else { Style::new() };
            let padding = " ".repeat(width.saturating_sub(text.chars().count()) + 2);
            line.push_str(&format!("{style}{text}{style:#}{padding}"));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec![("1".to_owned(), Tone::Plain), ("long cell".to_owned(), Tone::Good)],
            vec![("10001".to_owned(), Tone::Plain), ("x".to_owned(), Tone::Bad)],
        ];
        assert_eq!(table(&["a", "b"], &rows, false), "a      b\n1      long cell\n10001  x\n");
        assert!(table(&["a", "b"], &rows, true).contains("\u{1b}[32mlong cell\u{1b}[0m"));
    }
}
