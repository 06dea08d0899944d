//! Sizes in bytes as people write and read them: `8GB`, `7.5 GiB`, `8000000000`.

use std::fmt::{self, Display};
use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ByteSize(pub(crate) u64);

/// Why a text is no size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotASize {
    /// It does not begin with a number.
    NoNumber,
    /// Something else than a unit stands behind the number.
    Unit(String),
    /// Part of a byte.
    Fraction,
    /// More bytes than can be counted.
    TooLarge,
}

impl std::error::Error for NotASize {}

impl Display for NotASize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNumber => {
                f.write_str("a size is a number with a unit, such as 8GB, 7.5GiB or 8000000000 (bytes)")
            }
            Self::Unit(unit) => write!(
                f,
                "{unit:?} is no unit; the units are B, kB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (of 1024)"
            ),
            Self::Fraction => f.write_str("that is not a whole number of bytes"),
            Self::TooLarge => f.write_str("that is more bytes than can be counted"),
        }
    }
}

impl FromStr for ByteSize {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
            return Err(NotASize::NoNumber);
        }
        let unit = bytes_of(unit.trim())?;
        let digits = |digits: &str| digits.parse::<u128>().map_err(|_| NotASize::TooLarge);
        let fraction = fraction.trim_end_matches('0');
        let places = u32::try_from(fraction.len()).map_err(|_| NotASize::TooLarge)?;
        let scale = 10_u128.checked_pow(places).ok_or(NotASize::TooLarge)?;
        let part = if fraction.is_empty() { 0 } else { digits(fraction)? };
        // The number is (whole · scale + part) / scale.
        let scaled = digits(whole)?.checked_mul(scale).and_then(|n| n.checked_add(part));
        let bytes = scaled.and_then(|n| n.checked_mul(unit)).ok_or(NotASize::TooLarge)?;
        if !bytes.is_multiple_of(scale) {
            return Err(NotASize::Fraction);
        }
        u64::try_from(bytes / scale).map(Self).map_err(|_| NotASize::TooLarge)
    }
}

fn bytes_of(unit: &str) -> Result<u128, NotASize> {
    Ok(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1000_u128.pow(2),
        "gb" => 1000_u128.pow(3),
        "tb" => 1000_u128.pow(4),
        "kib" => 1024,
        "mib" => 1024_u128.pow(2),
        "gib" => 1024_u128.pow(3),
        "tib" => 1024_u128.pow(4),
        _ => return Err(NotASize::Unit(unit.to_owned())),
    })
}

impl Display for ByteSize {
    /// Three digits and a unit of powers of 1000.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&three_digits(self.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"]))
    }
}

/// A count of parameters, rounded to three digits, such as `46.7 B` for billions.
pub(crate) fn count(n: u64) -> String {
    let unit = 10_u64.pow(n.checked_ilog10().unwrap_or(0).saturating_sub(2));
    three_digits(n.saturating_add(unit / 2) / unit * unit, &["", "k", "M", "B", "T"])
}

/// Cut, never rounded up: so much is there.
fn three_digits(n: u64, units: &[&str]) -> String {
    let mut scale = 1_u64;
    let mut units = units.iter().copied();
    let mut unit = units.next().unwrap_or_default();
    while let (true, Some(next)) = (n / scale >= 1000, units.clone().next()) {
        (scale, unit) = (scale * 1000, next);
        units.next();
    }
    let (whole, rest) = (n / scale, n % scale);
    let text = match whole {
        _ if scale == 1 => whole.to_string(),
        0..10 => format!("{whole}.{:02}", rest / (scale / 100)),
        10..100 => format!("{whole}.{}", rest / (scale / 10)),
        _ => whole.to_string(),
    };
    format!("{text} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<u64, NotASize> {
        text.parse::<ByteSize>().map(|size| size.0)
    }

    #[test]
    fn units_are_exact() {
        assert_eq!(read("8GB"), Ok(8_000_000_000));
        assert_eq!(read("8GiB"), Ok(8_589_934_592));
        assert_eq!(read(" 7.5 gib "), Ok(8_053_063_680));
        assert_eq!(read("0.001kB"), Ok(1));
        assert_eq!(read("1.50TB"), Ok(1_500_000_000_000));
        assert_eq!((read("8589934592"), read("5B"), read("0")), (Ok(8_589_934_592), Ok(5), Ok(0)));
        assert_eq!(read("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn what_is_no_size_is_told_apart() {
        for text in ["", "GB", "-8GB", ".5GB", "8.GB", "1.2.3GB", "+8"] {
            assert_eq!(read(text), Err(NotASize::NoNumber), "{text:?}");
        }
        assert_eq!(read("8G"), Err(NotASize::Unit("G".to_owned())));
        assert_eq!(read("8 GB free"), Err(NotASize::Unit("GB free".to_owned())));
        assert_eq!((read("1.5B"), read("0.3KiB")), (Err(NotASize::Fraction), Err(NotASize::Fraction)));
        assert_eq!(read("18446744073709551616"), Err(NotASize::TooLarge));
        assert_eq!(read("18446744074TB"), Err(NotASize::TooLarge));
        assert_eq!(read(&format!("0.{}1GB", "0".repeat(60))), Err(NotASize::TooLarge));
    }

    #[test]
    fn three_digits_and_never_more_than_there_is() {
        let shown = [0, 999, 1000, 12_345, 999_999, 8_000_000_000, 176_160_768, u64::MAX].map(ByteSize);
        let shown = shown.map(|size| size.to_string());
        assert_eq!(shown, ["0 B", "999 B", "1.00 kB", "12.3 kB", "999 kB", "8.00 GB", "176 MB", "18.4 EB"]);
        assert_eq!((count(46_702_792_704), count(7)), ("46.7 B".to_owned(), "7".to_owned()));
        assert_eq!((count(131_596_523_520), count(999_999)), ("132 B".to_owned(), "1.00 M".to_owned()));
    }
}
