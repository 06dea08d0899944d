//! Where something lies on the web, as far as that is needed here: scheme, host and port, path with its query.

use std::fmt;
use std::net::IpAddr;

/// An `https` or `http` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    tls: bool,
    /// Host and port as they were written.
    authority: String,
    host: String,
    port: u16,
    /// Empty, or from its `/` on.
    path: String,
}

/// Why a text is no address, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(pub String);

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let fault = |why: String| Err(AddressError(why));
        if text.len() > MAX_ADDRESS_BYTES {
            return fault(format!("more than {MAX_ADDRESS_BYTES} bytes"));
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return fault(format!("it holds {odd:?}"));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return fault("it is no https:// address".to_owned());
        };
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return fault(format!("{scheme}:// is not spoken here; use https://")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return fault("a name and password in an address are not sent; set a token".to_owned());
        }
        let default = if tls { 443 } else { 80 };
        let Some((host, port)) = host_and_port(authority, default) else {
            return fault("it names no host".to_owned());
        };
        let path = if path.starts_with('?') { format!("/{path}") } else { path.to_owned() };
        Ok(Self { tls, authority: authority.to_owned(), host, port, path })
    }

    /// Reads an address that secrets may be sent to: of `https`, or of this machine.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn private(text: &str) -> Result<Self, AddressError> {
        let address = Self::parse(text)?;
        if !address.tls && !is_loopback(&address.host) {
            return Err(AddressError(format!(
                "http:// is for this machine only; use https://{}",
                address.host
            )));
        }
        Ok(address)
    }

    /// The same with more path, which begins with a `/`.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        Self { path: format!("{}{path}", self.path.trim_end_matches('/')), ..self.clone() }
    }

    /// Where a redirect from here leads. Never from TLS to plain HTTP, nor from a private address to one that is none.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn follow(&self, location: &str) -> Result<Self, AddressError> {
        let next = if location.starts_with('/') && !location.starts_with("//") {
            Self { path: location.split('#').next().unwrap_or_default().to_owned(), ..self.clone() }
        } else {
            Self::private(location)?
        };
        if self.tls && !next.tls {
            return Err(AddressError("it leads away from https".to_owned()));
        }
        Ok(next)
    }

    /// Whether both are at the same host and port, in the same manner.
    #[must_use]
    pub fn is_with(&self, other: &Self) -> bool {
        (self.tls, &self.host, self.port) == (other.tls, &other.host, other.port)
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host in lower case, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own where none is written.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they were written.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The path with its query; at least `/`.
    #[must_use]
    pub fn path(&self) -> &str {
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

fn host_and_port(authority: &str, default: u16) -> Option<(String, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
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
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

const MAX_ADDRESS_BYTES: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (bool, String, u16, String) {
        let address = Address::parse(text).unwrap();
        (address.is_tls(), address.host().to_owned(), address.port(), address.path().to_owned())
    }

    #[test]
    fn scheme_host_port_and_path_are_read() {
        let of = |tls, host: &str, port, path: &str| (tls, host.to_owned(), port, path.to_owned());
        assert_eq!(parts("https://Log.Example"), of(true, "log.example", 443, "/"));
        assert_eq!(parts("http://[::1]:12111/a?b#c"), of(false, "::1", 12_111, "/a?b"));
        assert_eq!(parts("http://[::1]/"), of(false, "::1", 80, "/"));
        assert_eq!(parts("https://h:1?q"), of(true, "h", 1, "/?q"));
        for (text, why) in [
            ("log.example", "it is no https:// address"),
            ("ftp://h", "ftp:// is not spoken here; use https://"),
            ("https://", "it names no host"),
            ("https://h:65536", "it names no host"),
            ("https://[::1]x:1", "it names no host"),
            ("https://u:p@h", "a name and password in an address are not sent; set a token"),
            ("https://h/\u{7f}", "it holds '\\u{7f}'"),
        ] {
            assert_eq!(Address::parse(text), Err(AddressError(why.to_owned())), "{text}");
        }
        let long = format!("https://h/{}", "x".repeat(MAX_ADDRESS_BYTES));
        assert_eq!(Address::parse(&long), Err(AddressError("more than 8192 bytes".to_owned())));
    }

    #[test]
    fn secrets_go_over_tls_or_stay_on_this_machine() {
        for text in ["https://h", "http://127.0.0.1:1", "http://[::1]", "http://localhost:8080"] {
            assert_eq!(Address::private(text), Address::parse(text), "{text}");
        }
        for host in ["h", "192.0.2.1", "localhost.example"] {
            let why = format!("http:// is for this machine only; use https://{host}");
            assert_eq!(Address::private(&format!("http://{host}")), Err(AddressError(why)));
        }
    }

    #[test]
    fn redirect_stays_on_tls_and_leaves_the_query_unsaid() {
        let at = Address::parse("https://h/a/").unwrap();
        assert_eq!(at.below("/b").to_string(), "https://h/a/b");
        assert_eq!(at.follow("/c?signature").unwrap().to_string(), "https://h/c");
        let other = at.follow("https://i/c").unwrap();
        assert_eq!((other.to_string(), other.is_with(&at)), ("https://i/c".to_owned(), false));
        assert!(at.follow("https://H:443/d").unwrap().is_with(&at));
        let away = Err(AddressError("it leads away from https".to_owned()));
        assert_eq!(at.follow("http://localhost/"), away);
    }
}
