//! The files of the issuing CA in a router's home, and of the one that is to take its place.
//!
//! ```text
//! identity/ca.key .der        the CA in use
//! identity/next-ca.key .der   the one after it; without the certificate while a root elsewhere is asked for it
//! ```
//!
//! A key may be an agent's. The key of the CA that another takes the place of is gone with that: nothing needs it any
//! more but whoever would steal it.

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use counterfoil_identity::key_file::{self, Keyring};
use counterfoil_identity::{
    CaFault, IssuingCa, Root, Signer, TrustDomain, certificate_key, certificate_request,
};
use counterfoil_spec::time::Seconds;

use super::{HomeError, RouterHome, io_error, replace};

/// The CA that is to take the place of the one in use.
#[derive(Debug)]
pub enum NextCa {
    /// Its root lies elsewhere and is asked, by this PKCS#10 request.
    Asked(Vec<u8>),
    /// It has its certificate.
    Certified(Box<IssuingCa>),
}

/// Where a home keeps them.
pub(super) struct Authority<'a> {
    pub(super) folder: PathBuf,
    pub(super) keys: &'a Keyring,
    pub(super) domain: &'a TrustDomain,
}

/// A home whose issuing CA nobody else changes while this is held.
#[derive(Debug)]
pub(crate) struct ChangeCa<'a> {
    home: &'a RouterHome,
    _alone: MutexGuard<'a, ()>,
}

impl<'a> ChangeCa<'a> {
    pub(super) const fn new(home: &'a RouterHome, alone: MutexGuard<'a, ()>) -> Self {
        Self { home, _alone: alone }
    }
}

impl Deref for ChangeCa<'_> {
    type Target = RouterHome;

    fn deref(&self) -> &RouterHome {
        self.home
    }
}

impl Authority<'_> {
    /// Reads the CA in use.
    pub(super) fn read(&self) -> Result<IssuingCa, HomeError> {
        self.finish()?;
        self.pair((&self.at(CA_KEY), &self.at(CA_DER)))
    }

    /// The same, made with the root where there is none.
    pub(super) fn read_or_create(&self, root: Option<&Root>, now: Seconds) -> Result<IssuingCa, HomeError> {
        let (key, der) = (self.at(CA_KEY), self.at(CA_DER));
        match root {
            Some(root) if !der.exists() => self.certify(root, (&key, &der), now),
            _ => self.read(),
        }
    }

    /// The CA after it, where there is one.
    pub(super) fn next(&self) -> Result<Option<NextCa>, HomeError> {
        self.finish()?;
        let (key, der) = (self.at(NEXT_KEY), self.at(NEXT_DER));
        if !key_file::is_there(&key) {
            return Ok(None);
        }
        let signer = self.keys.signer(&key)?;
        // A certificate of another key is one that was to be forgotten.
        if self.certified_next()?.is_some_and(|of| signer.public().spki_der() == *of) {
            return self.pair((&key, &der)).map(|ca| Some(NextCa::Certified(Box::new(ca))));
        }
        self.request(&*signer).map(|request| Some(NextCa::Asked(request)))
    }

    /// Makes it, or what its root is to be asked.
    pub(super) fn make_next(&self, root: Option<&Root>, now: Seconds) -> Result<NextCa, HomeError> {
        let (key, der) = (self.at(NEXT_KEY), self.at(NEXT_DER));
        match root {
            Some(root) => self.certify(root, (&key, &der), now).map(|ca| NextCa::Certified(Box::new(ca))),
            None => self.request(&*self.keys.signer_or_create(&key)?).map(NextCa::Asked),
        }
    }

    /// Takes what the root answered.
    pub(super) fn take_next(&self, certificate: Vec<u8>) -> Result<IssuingCa, HomeError> {
        let (key, der) = (self.at(NEXT_KEY), self.at(NEXT_DER));
        let ca =
            IssuingCa::from_parts(self.keys.signer(&key)?, certificate, self.domain).map_err(fault(&der))?;
        replace(&der, ca.der())?;
        Ok(ca)
    }

    /// Forgets it; the key first, so that it gets no other certificate.
    pub(super) fn drop_next(&self) -> Result<(), HomeError> {
        for name in [NEXT_KEY, NEXT_AGENT, NEXT_DER] {
            remove(&self.at(name))?;
        }
        self.sync()
    }

    /// It takes the place of the CA in use. What a break leaves is finished when the files are read again.
    pub(super) fn switch(&self) -> Result<(), HomeError> {
        let Some(of) = self.certified_next()? else { return Ok(()) };
        for step in self.steps(&of)? {
            step.carry_out()?;
            self.sync()?;
        }
        Ok(())
    }

    /// What a break left of a switch that was begun.
    fn finish(&self) -> Result<(), HomeError> {
        let Some(of) = self.certified_next()? else { return Ok(()) };
        let begun = self.in_place()?.into_iter().flatten().any(|spki| spki == of);
        if begun { self.switch() } else { Ok(()) }
    }

    /// What is still to be done so that the next CA stands in the place of the one in use. What has its key comes first and
    /// its certificate last; so from the first step to the last one a key in the place of the CA's is that of the next
    /// certificate.
    fn steps(&self, of: &[u8]) -> Result<Vec<Step>, HomeError> {
        let moves =
            [(NEXT_KEY, CA_KEY), (NEXT_AGENT, CA_AGENT)].map(|(from, to)| (self.at(from), self.at(to)));
        let mut steps = Vec::new();
        for (from, to) in moves.iter().filter(|(from, _)| from.exists()) {
            steps.push(Step::Move(from.clone(), to.clone()));
        }
        for ((from, to), spki) in moves.iter().zip(self.in_place()?) {
            if !from.exists() && spki.is_some_and(|spki| spki != of) {
                steps.push(Step::Remove(to.clone()));
            }
        }
        steps.push(Step::Move(self.at(NEXT_DER), self.at(CA_DER)));
        Ok(steps)
    }

    /// The keys in the place of the CA's: that of the file, and that of the agent.
    fn in_place(&self) -> Result<[Option<Vec<u8>>; 2], HomeError> {
        let key = self.at(CA_KEY);
        let spki = |signer: Arc<dyn Signer>| signer.public().spki_der().to_vec();
        let file = if key.exists() { Some(spki(self.keys.signer(&key)?)) } else { None };
        Ok([file, self.keys.agent(&key)?.map(spki)])
    }

    /// The key that the next CA's certificate is of, where there is one.
    fn certified_next(&self) -> Result<Option<Vec<u8>>, HomeError> {
        let der = self.at(NEXT_DER);
        match std::fs::read(&der) {
            Ok(bytes) => certificate_key(&bytes).map(Some).map_err(fault(&der)),
            // Nothing was made; or another process, which reads this home, has just put it to use.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error(&der)(e)),
        }
    }

    fn pair(&self, (key, der): (&Path, &Path)) -> Result<IssuingCa, HomeError> {
        let bytes = std::fs::read(der).map_err(io_error(der))?;
        IssuingCa::from_parts(self.keys.signer(key)?, bytes, self.domain).map_err(fault(der))
    }

    fn certify(&self, root: &Root, (key, der): (&Path, &Path), now: Seconds) -> Result<IssuingCa, HomeError> {
        let ca = root.issue_ca(self.keys.signer_or_create(key)?, now).map_err(fault(der))?;
        replace(der, ca.der())?;
        Ok(ca)
    }

    fn request(&self, key: &dyn Signer) -> Result<Vec<u8>, HomeError> {
        certificate_request(key).map_err(fault(&self.at(NEXT_DER)))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn sync(&self) -> Result<(), HomeError> {
        sync(&self.folder)
    }
}

/// Makes durable what was moved or removed.
pub(super) fn sync(folder: &Path) -> Result<(), HomeError> {
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io_error(folder))
}

/// One change of the folder, whole or not at all.
#[derive(Debug)]
pub(super) enum Step {
    Move(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Step {
    pub(super) fn carry_out(&self) -> Result<(), HomeError> {
        match self {
            Self::Move(from, to) => match std::fs::rename(from, to) {
                // Another process, which reads this home, has carried it out.
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                moved => moved.map_err(io_error(from)),
            },
            Self::Remove(path) => remove(path),
        }
    }
}

/// The root, where its key is in this home.
pub(super) fn root_here(keys: &Keyring, folder: &Path, der: &[u8]) -> Result<Option<Root>, HomeError> {
    let key = folder.join(ROOT_KEY);
    if !key_file::is_there(&key) {
        return Ok(None);
    }
    let signer: Arc<dyn Signer> = keys.signer(&key)?;
    Root::from_parts(signer, der.to_vec()).map(Some).map_err(fault(&folder.join(ROOT_DER)))
}

fn remove(path: &Path) -> Result<(), HomeError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error(path)(e)),
        _ => Ok(()),
    }
}

fn fault(path: &Path) -> impl FnOnce(CaFault) -> HomeError {
    let path = path.display().to_string();
    move |source| HomeError::Certificate { path, source }
}

pub(super) const ROOT_KEY: &str = "root.key";
pub(super) const ROOT_DER: &str = "root.der";
const CA_KEY: &str = "ca.key";
const CA_AGENT: &str = "ca.agent";
const CA_DER: &str = "ca.der";
const NEXT_KEY: &str = "next-ca.key";
const NEXT_AGENT: &str = "next-ca.agent";
const NEXT_DER: &str = "next-ca.der";

#[cfg(test)]
mod tests;
