//! Where a caller is from, as the router's operator wrote it down.

use std::fmt;
use std::str::FromStr;

/// An ISO 3166-1 alpha-2 code: two capital letters. Which of them are assigned is not looked at, as that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

/// A text that is no country.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no country; write two capital letters, such as \"DE\" (ISO 3166-1 alpha-2)")]
pub struct CountrySyntax(pub String);

impl Country {
    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Country {
    type Err = CountrySyntax;

    fn from_str(text: &str) -> Result<Self, CountrySyntax> {
        match text.as_bytes() {
            [a @ b'A'..=b'Z', b @ b'A'..=b'Z'] => Ok(Self([*a, *b])),
            _ => Err(CountrySyntax(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<C> minicbor::Encode<C> for Country {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(self.as_str())?;
        Ok(())
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Country {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let at = d.position();
        d.str()?.parse().map_err(|_| minicbor::decode::Error::message("not a country").at(at))
    }
}

impl serde::Serialize for Country {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> serde::Deserialize<'de> for Country {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{from_canonical, to_canonical};

    #[test]
    fn two_capital_letters_and_nothing_else_are_a_country() {
        assert_eq!("DE".parse::<Country>().map(|c| c.to_string()), Ok("DE".to_owned()));
        for no in ["", "D", "DEU", "de", "D1", "D\u{c4}", "\u{c4}", "D E", " DE"] {
            assert_eq!(no.parse::<Country>(), Err(CountrySyntax(no.to_owned())));
        }
    }

    #[test]
    fn it_is_two_letters_of_text_on_the_wire() {
        let country: Country = "FR".parse().unwrap();
        assert_eq!(to_canonical(&country), [0x62, b'F', b'R']);
        assert_eq!(from_canonical::<Country>(&[0x62, b'F', b'R'], 3).ok(), Some(country));
        assert!(from_canonical::<Country>(&[0x62, b'f', b'r'], 3).is_err());
        assert!(from_canonical::<Country>(&[0x61, b'F'], 3).is_err());
    }
}
