//! What commands print: JSON where asked for, otherwise short lines and aligned tables.

use std::io::{IsTerminal, Write};

use serde_json::Value;

/// Prints one JSON document on a line of its own.
pub(crate) fn json(value: &Value) {
    line(&value.to_string());
}

/// Prints a line. A reader that went away is no fault: what the command found out is in its exit code.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Says something beside what is printed, which may be read by a program.
pub(crate) fn aside(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints text without a line end and at once.
pub(crate) fn piece(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// Prints rows as columns as wide as their widest cell.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let render = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            let pad = width.saturating_sub(cell.chars().count());
            text.push_str(cell);
            text.push_str(&" ".repeat(pad + 2));
        }
        text.trim_end().to_owned()
    };
    line(&render(&mut head.iter().copied()));
    for row in rows {
        line(&render(&mut row.iter().map(String::as_str)));
    }
}

/// A progress bar on a terminal, nothing anywhere else.
pub(crate) fn progress(what: &'static str) -> indicatif::ProgressBar {
    if !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new(0);
    if let Ok(style) = indicatif::ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} ({eta})") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// The same of bytes.
pub(crate) fn byte_progress(what: &'static str) -> indicatif::ProgressBar {
    let bar = progress(what);
    let template = "{msg} {wide_bar} {decimal_bytes}/{decimal_total_bytes} ({eta})";
    if let Ok(style) = indicatif::ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Micro-units as a decimal amount, such as `12.345678`.
pub(crate) fn micro(amount: i128) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let amount = amount.unsigned_abs();
    format!("{sign}{}.{:06}", amount / 1_000_000, amount % 1_000_000)
}

/// Cents as a decimal amount, such as `762.95`.
pub(crate) fn cents(amount: i64) -> String {
    let sign = if amount < 0 { "-" } else { "" };
    let amount = amount.unsigned_abs();
    format!("{sign}{}.{:02}", amount / 100, amount % 100)
}
