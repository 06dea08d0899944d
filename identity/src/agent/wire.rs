//! The bytes of the two requests and their answers.

use counterfoil_spec::ids::{PublicKey, Signature};

/// A message with an agent, without its length; the limit that agents themselves have.
pub const MAX_AGENT_MESSAGE_BYTES: usize = 256 * 1024;
/// Keys that are read of an agent's list.
const MAX_KEYS: u32 = 2048;
const KEY_TYPE: &[u8] = b"ssh-ed25519";
const FAILURE: u8 = 5;
const LIST: u8 = 11;
const LISTED: u8 = 12;
const SIGN: u8 = 13;
const SIGNED: u8 = 14;

/// Takes fields off the front of a message.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }

    const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is asked of an agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    List,
    Sign {
        key: PublicKey,
        message: &'a [u8],
    },
    /// Anything else, which this agent does not do.
    Other,
}

pub(super) fn request(message: &[u8]) -> Request<'_> {
    let read = || {
        let mut fields = Fields(message);
        match fields.byte()? {
            LIST if fields.is_empty() => Some(Request::List),
            SIGN => {
                let (blob, message, flags) = (fields.string()?, fields.string()?, fields.number()?);
                let key = key_of(blob)?;
                (flags == 0 && fields.is_empty()).then_some(Request::Sign { key, message })
            }
            _ => None,
        }
    };
    read().unwrap_or(Request::Other)
}

fn key_of(blob: &[u8]) -> Option<PublicKey> {
    let mut fields = Fields(blob);
    let (kind, key) = (fields.string()?, fields.string()?);
    (kind == KEY_TYPE && fields.is_empty()).then(|| PublicKey::from_slice(key))?
}

fn blob_of(key: &PublicKey) -> Vec<u8> {
    let mut blob = Vec::with_capacity(51);
    push(&mut blob, KEY_TYPE);
    push(&mut blob, key.as_bytes());
    blob
}

/// Appends a string; what is framed here is bounded by [`MAX_AGENT_MESSAGE_BYTES`].
fn push(out: &mut Vec<u8>, string: &[u8]) {
    out.extend_from_slice(&length(string).to_be_bytes());
    out.extend_from_slice(string);
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + body.len());
    push(&mut out, body);
    out
}

pub(super) fn list_request() -> Vec<u8> {
    framed(&[LIST])
}

pub(super) fn sign_request(key: &PublicKey, message: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut body = vec![SIGN];
    push(&mut body, &blob_of(key));
    push(&mut body, message);
    body.extend_from_slice(&0_u32.to_be_bytes());
    if body.len() > MAX_AGENT_MESSAGE_BYTES {
        return Err("the message is longer than agents take");
    }
    Ok(framed(&body))
}

pub(super) fn failure() -> Vec<u8> {
    framed(&[FAILURE])
}

pub(super) fn listed(keys: &[(PublicKey, &str)]) -> Vec<u8> {
    let mut body = vec![LISTED];
    body.extend_from_slice(&u32::try_from(keys.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (key, comment) in keys {
        push(&mut body, &blob_of(key));
        push(&mut body, comment.as_bytes());
    }
    framed(&body)
}

pub(super) fn signed(signature: &Signature) -> Vec<u8> {
    let mut inner = Vec::new();
    push(&mut inner, KEY_TYPE);
    push(&mut inner, signature.as_bytes());
    let mut body = vec![SIGNED];
    push(&mut body, &inner);
    framed(&body)
}

/// The Ed25519 keys of an agent's list.
pub(super) fn keys(answer: &[u8]) -> Result<Vec<PublicKey>, &'static str> {
    let mut fields = Fields(answer);
    if fields.byte() != Some(LISTED) {
        return Err("no list of keys");
    }
    let count = fields.number().filter(|n| *n <= MAX_KEYS).ok_or("an impossible number of keys")?;
    let mut keys = Vec::new();
    for _ in 0..count {
        let blob = fields.string().ok_or("a list that ends early")?;
        fields.string().ok_or("a list that ends early")?;
        keys.extend(key_of(blob));
    }
    if fields.is_empty() { Ok(keys) } else { Err("bytes after the list") }
}

/// The signature of an answer; nothing where the agent declined.
pub(super) fn signature(answer: &[u8]) -> Result<Option<Signature>, &'static str> {
    let mut fields = Fields(answer);
    match fields.byte() {
        Some(FAILURE) => return Ok(None),
        Some(SIGNED) => {}
        _ => return Err("neither a signature nor a refusal"),
    }
    let inner = fields.string().filter(|_| fields.is_empty()).ok_or("a malformed answer")?;
    let mut fields = Fields(inner);
    let (kind, signature) = (fields.string(), fields.string());
    if kind != Some(KEY_TYPE) || !fields.is_empty() {
        return Err("a signature of another kind of key");
    }
    signature.and_then(Signature::from_slice).map(Some).ok_or("a signature that is not 64 bytes long")
}
