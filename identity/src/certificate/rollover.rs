//! The issuing CAs of a network in their phases, as its router's log tells of them: a pure fold.
//!
//! ```text
//! ca-issued            key-rotation              the next key-rotation
//!    | announced          | in use                  | leaving       | retired
//!    +--------------------+-------------------------+---------------+------------->
//!                                                     24 h and 60 s
//! ```
//!
//! The first CA is in use as soon as it is announced. A CA that leaves issues nothing more; once the last leaf that it
//! may have issued has ended it is retired, so that its key is worth nothing to whoever finds it later.

use counterfoil_spec::ids::Serial;
use counterfoil_spec::limits::{MAX_CLOCK_SKEW_S, MAX_LEAF_CERT_LIFE_S};
use counterfoil_spec::refusal::Refusal;
use counterfoil_spec::time::Seconds;

use super::issued::IssuedCa;

/// What a CA may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaPhase {
    /// Nothing yet.
    Announced,
    /// Issue leaves, since then.
    InUse(Seconds),
    /// Nothing more, but its leaves are good until they end: all have by this second.
    Leaving(Seconds),
    /// Its leaves are refused, after this second.
    Retired(Seconds),
}

/// Why an entry about a CA does not follow from those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CaFold {
    /// Its serial number or its key stands for an earlier one.
    #[error("an issuing CA with this serial number or this key was announced before")]
    Again,
    /// None of this serial number.
    #[error("no issuing CA with this serial number was announced")]
    Unknown,
    /// It is in use, or was.
    #[error("this issuing CA is in use or was before")]
    Used,
    /// Its certificate is over.
    #[error("this issuing CA has ended")]
    Ended,
}

/// An issuing CA with what the log said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownCa {
    /// As its certificate shows it.
    pub ca: IssuedCa,
    /// When it was announced.
    pub announced: Seconds,
    /// When it was put to use.
    pub since: Option<Seconds>,
    /// When another took its place.
    pub replaced: Option<Seconds>,
}

impl KnownCa {
    /// Its phase at an instant.
    #[must_use]
    pub fn phase(&self, now: Seconds) -> CaPhase {
        let last = self.replaced.map(|at| at.plus(MAX_LEAF_CERT_LIFE_S + MAX_CLOCK_SKEW_S));
        match (self.since, last) {
            (None, _) => CaPhase::Announced,
            (Some(since), None) => CaPhase::InUse(since),
            (Some(_), Some(last)) if now <= last => CaPhase::Leaving(last),
            (Some(_), Some(last)) => CaPhase::Retired(last),
        }
    }
}

/// All of them, in the order in which they were announced.
#[derive(Debug, Clone, Default)]
pub struct IssuingCas {
    all: Vec<KnownCa>,
}

impl IssuingCas {
    /// A CA stands in the log from here on.
    ///
    /// # Errors
    /// [`CaFold::Again`] and [`CaFold::Ended`]; then it does not count.
    pub fn announce(&mut self, ca: IssuedCa, at: Seconds) -> Result<(), CaFold> {
        self.may_announce(&ca, at)?;
        let since = self.in_use().is_none().then_some(at);
        self.all.push(KnownCa { ca, announced: at, since, replaced: None });
        Ok(())
    }

    /// Whether a CA may be announced.
    ///
    /// # Errors
    /// As [`IssuingCas::announce`].
    pub fn may_announce(&self, ca: &IssuedCa, at: Seconds) -> Result<(), CaFold> {
        if self.all.iter().any(|known| known.ca.serial == ca.serial || known.ca.key == ca.key) {
            return Err(CaFold::Again);
        }
        if at > ca.not_after { Err(CaFold::Ended) } else { Ok(()) }
    }

    /// A CA takes the place of the one in use.
    ///
    /// # Errors
    /// [`CaFold`]; then nothing changes.
    pub fn rotate(&mut self, serial: &Serial, at: Seconds) -> Result<(), CaFold> {
        self.may_rotate(serial, at)?;
        for known in &mut self.all {
            if known.ca.serial == *serial {
                known.since = Some(at);
            } else if known.since.is_some() {
                known.replaced = known.replaced.or(Some(at));
            }
        }
        Ok(())
    }

    /// Whether a CA may take the place of the one in use.
    ///
    /// # Errors
    /// As [`IssuingCas::rotate`].
    pub fn may_rotate(&self, serial: &Serial, at: Seconds) -> Result<(), CaFold> {
        match self.find(serial) {
            None => Err(CaFold::Unknown),
            Some(known) if known.since.is_some() => Err(CaFold::Used),
            Some(known) if at > known.ca.not_after => Err(CaFold::Ended),
            Some(_) => Ok(()),
        }
    }

    /// Lets a leaf pass that the CA of this serial number has issued.
    ///
    /// # Errors
    /// `CertCaUnknown` where it is not in use and never was, `CertCaRetired` where it is retired.
    pub fn check(&self, serial: &[u8; 16], now: Seconds) -> Result<(), Refusal> {
        match self.find(&Serial::from_bytes(*serial)).map(|known| known.phase(now)) {
            None | Some(CaPhase::Announced) => Err(Refusal::CertCaUnknown),
            Some(CaPhase::Retired(_)) => Err(Refusal::CertCaRetired),
            Some(CaPhase::InUse(_) | CaPhase::Leaving(_)) => Ok(()),
        }
    }

    /// One of them.
    #[must_use]
    pub fn find(&self, serial: &Serial) -> Option<&KnownCa> {
        self.all.iter().rev().find(|known| known.ca.serial == *serial)
    }

    /// The one in use.
    #[must_use]
    pub fn in_use(&self) -> Option<&KnownCa> {
        self.all.iter().rev().find(|known| known.since.is_some() && known.replaced.is_none())
    }

    /// All of them.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = &KnownCa> {
        self.all.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SecretKey;

    const DAY: u64 = 86_400;
    const START: Seconds = Seconds(1_800_000_000);

    fn ca(n: u8) -> IssuedCa {
        IssuedCa {
            serial: Serial::from_bytes([n; 16]),
            key: SecretKey::from_seed([n; 32]).public(),
            not_before: START,
            not_after: START.plus(90 * DAY),
        }
    }

    fn serial(n: u8) -> Serial {
        ca(n).serial
    }

    #[test]
    fn first_is_in_use_at_once_and_the_second_once_it_is_put_to_use() {
        let mut cas = IssuingCas::default();
        let now = START.plus(DAY);
        assert_eq!(cas.check(&[1; 16], now), Err(Refusal::CertCaUnknown));
        cas.announce(ca(1), START).unwrap();
        assert_eq!(cas.check(&[1; 16], now), Ok(()));
        cas.announce(ca(2), now).unwrap();
        assert_eq!(cas.find(&serial(2)).unwrap().phase(now), CaPhase::Announced);
        assert_eq!(cas.check(&[2; 16], now), Err(Refusal::CertCaUnknown));
        assert_eq!(cas.in_use().map(|known| known.ca), Some(ca(1)));
        cas.rotate(&serial(2), now).unwrap();
        assert_eq!(cas.in_use().map(|known| known.ca), Some(ca(2)));
        assert_eq!([1, 2].map(|n| cas.check(&[n; 16], now)), [Ok(()); 2]);
    }

    #[test]
    fn one_that_was_replaced_is_retired_when_its_last_leaf_is_over() {
        let mut cas = IssuingCas::default();
        cas.announce(ca(1), START).unwrap();
        cas.announce(ca(2), START).unwrap();
        cas.rotate(&serial(2), START.plus(DAY)).unwrap();
        let last = START.plus(2 * DAY + 60);
        assert_eq!(cas.find(&serial(1)).unwrap().phase(last), CaPhase::Leaving(last));
        assert_eq!(cas.check(&[1; 16], last), Ok(()));
        assert_eq!(cas.check(&[1; 16], last.plus(1)), Err(Refusal::CertCaRetired));
        assert_eq!(cas.check(&[2; 16], last.plus(1)), Ok(()));
        // A later change of the one in use says nothing new of it.
        cas.announce(ca(3), last).unwrap();
        cas.rotate(&serial(3), last.plus(1)).unwrap();
        assert_eq!(cas.find(&serial(1)).unwrap().replaced, Some(START.plus(DAY)));
    }

    #[test]
    fn what_does_not_follow_changes_nothing() {
        let mut cas = IssuingCas::default();
        cas.announce(ca(1), START).unwrap();
        assert_eq!(cas.announce(ca(1), START), Err(CaFold::Again));
        assert_eq!(cas.announce(IssuedCa { serial: serial(2), ..ca(1) }, START), Err(CaFold::Again));
        assert_eq!(cas.announce(IssuedCa { serial: serial(1), ..ca(2) }, START), Err(CaFold::Again));
        let end = ca(2).not_after;
        assert_eq!(cas.announce(ca(2), end.plus(1)), Err(CaFold::Ended));
        assert_eq!(cas.rotate(&serial(2), START), Err(CaFold::Unknown));
        assert_eq!(cas.rotate(&serial(1), START), Err(CaFold::Used));
        cas.announce(ca(2), end).unwrap();
        assert_eq!(cas.rotate(&serial(2), end.plus(1)), Err(CaFold::Ended));
        assert_eq!(cas.in_use().map(|known| known.ca), Some(ca(1)));
        cas.rotate(&serial(2), end).unwrap();
        assert_eq!(cas.rotate(&serial(1), end), Err(CaFold::Used));
    }
}
