//! Where something lies on the web, as far as that is needed here: scheme, host and port, path with its query.

use std::fmt;

/// An `https` address, or an `http` one on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    tls: bool,
    /// Host and port as they were written.
    authority: String,
    host: String,
    port: u16,
    /// Empty, or from its `/` on.
    path: String,
}

impl Address {
    /// Reads an address; the error says in words what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_ADDRESS_BYTES {
            return Err(format!("more than {MAX_ADDRESS_BYTES} bytes"));
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(format!("it holds {odd:?}"));
        }
        let (scheme, rest) = text.split_once("://").ok_or("it is no https:// address")?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(format!("{scheme}:// is not spoken here; use https://")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("a name and password in an address are not sent; set a token".to_owned());
        }
        let default = if tls { 443 } else { 80 };
        let (host, port) = host_and_port(authority, default).ok_or("it names no host")?;
        //= spec/session.md#fetching
        //# Plain HTTP is for loopback addresses only.
        if !tls && !is_loopback(&host) {
            return Err(format!("http:// is for this machine only; use https://{host}"));
        }
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        Ok(Self { tls, authority: authority.to_owned(), host, port, path })
    }

    /// The same with more path.
    pub(crate) fn below(&self, path: &str) -> Self {
        Self { path: format!("{}/{path}", self.path), ..self.clone() }
    }

    /// Where a redirect from here leads. Never from TLS to plain HTTP.
    pub(crate) fn follow(&self, location: &str) -> Result<Self, String> {
        let next = if location.starts_with('/') && !location.starts_with("//") {
            Self { path: location.split('#').next().unwrap_or_default().to_owned(), ..self.clone() }
        } else {
            Self::parse(location)?
        };
        if self.tls && !next.tls { Err("it leads away from https".to_owned()) } else { Ok(next) }
    }

    /// Whether both are at the same host and port, in the same manner.
    pub(crate) fn is_with(&self, other: &Self) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    pub(crate) const fn is_tls(&self) -> bool {
        self.tls
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) fn path(&self) -> &str {
        if self.path.is_empty() { "/" } else { &self.path }
    }
}

impl fmt::Display for Address {
    /// Without its query, which may hold a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path.split('?').next().unwrap_or_default())
    }
}

/// A file's name as a path: everything but letters, digits and `-._~/` as `%` and two digits.
pub(crate) fn encoded(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn host_and_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => default,
    };
    (!host.is_empty()).then(|| (host.to_ascii_lowercase(), port))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

const MAX_ADDRESS_BYTES: usize = 8192;
