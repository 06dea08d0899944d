//! As much of HTTP/1.1 as a test needs, over a plain socket: whole answers, and server-sent events one by one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::QUESTION;

/// The longest that an answer may be silent; it bounds a hang, not a speed.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where questions go.
const COMPLETIONS: &str = "/v1/chat/completions";

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// An answer that comes in events; dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Stream {
    lines: BufReader<TcpStream>,
    chunk_left: usize,
    over: bool,
}

/// What a stream came to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Told {
    pub(crate) text: String,
    pub(crate) finish: Option<String>,
    pub(crate) usage: Value,
    pub(crate) own: Value,
    pub(crate) error: Value,
    /// Whether the last line said that nothing is missing.
    pub(crate) done: bool,
}

/// The body of a question with more members.
pub(crate) fn question(more: &Value) -> Value {
    let mut body =
        json!({ "model": "guide", "messages": [{ "role": "user", "content": QUESTION }], "temperature": 0 });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The body of a question whose answer is to come in events.
pub(crate) fn streamed(more: &Value) -> Value {
    let mut body = question(more);
    body["stream"] = true.into();
    body["stream_options"] = json!({ "include_usage": true });
    body
}

/// Reads a path.
pub(crate) fn fetch(to: SocketAddr, path: &str) -> Reply {
    fetch_with(to, None, path)
}

/// Reads a path with a key.
pub(crate) fn fetch_with(to: SocketAddr, key: Option<&str>, path: &str) -> Reply {
    let mut socket = connect(to);
    let key = bearer(key);
    write!(socket, "GET {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{key}\r\n").unwrap();
    Reply::read(socket)
}

fn bearer(key: Option<&str>) -> String {
    key.map(|k| format!("authorization: Bearer {k}\r\n")).unwrap_or_default()
}

/// Asks with a `Host` and other headers of the caller's own, each with its line end.
pub(crate) fn ask_as(to: SocketAddr, host: &str, headers: &str) -> Reply {
    let (mut socket, body) = (connect(to), question(&json!({ "max_tokens": 1 })).to_string());
    let n = body.len();
    write!(
        socket,
        "POST {COMPLETIONS} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}content-length: {n}\r\n\r\n{body}"
    )
    .unwrap();
    Reply::read(socket)
}

/// Posts bytes to a path with some headers.
pub(crate) fn post(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut socket = connect(to);
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let n = body.len();
    write!(
        socket,
        "POST {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{headers}content-length: {n}\r\n\r\n"
    )
    .unwrap();
    socket.write_all(body).unwrap();
    Reply::read(socket)
}

/// Asks, with a key where there is one, and waits for the whole answer.
pub(crate) fn ask(to: SocketAddr, key: Option<&str>, body: &Value) -> Reply {
    ask_bytes(to, key, body.to_string().as_bytes())
}

/// Asks with a body that may be anything.
pub(crate) fn ask_bytes(to: SocketAddr, key: Option<&str>, body: &[u8]) -> Reply {
    Reply::read(send(to, key, body))
}

/// Asks, and goes away before there is an answer.
pub(crate) fn leave(to: SocketAddr, key: Option<&str>, body: &Value) {
    drop(send(to, key, body.to_string().as_bytes()));
}

/// Asks for events.
pub(crate) fn stream(to: SocketAddr, key: Option<&str>, body: &Value) -> Stream {
    let mut lines = BufReader::new(send(to, key, body.to_string().as_bytes()));
    let (status, headers) = head(&mut lines);
    assert_eq!(status, 200, "{headers:?}");
    assert_eq!(header(&headers, "content-type"), Some("text/event-stream; charset=utf-8"));
    assert_eq!(header(&headers, "transfer-encoding"), Some("chunked"));
    Stream { lines, chunk_left: 0, over: false }
}

fn connect(to: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
}

fn send(to: SocketAddr, key: Option<&str>, body: &[u8]) -> TcpStream {
    let mut socket = connect(to);
    let key = bearer(key);
    write!(
        socket,
        "POST {COMPLETIONS} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         {key}content-length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    // A server that refuses a body may stop reading it.
    let _ = socket.write_all(body);
    socket
}

fn head(lines: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let first = line(lines).unwrap();
    let status = first.strip_prefix("HTTP/1.1 ").unwrap()[..3].parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let next = line(lines).unwrap();
        let Some((name, value)) = next.split_once(':') else { return (status, headers) };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
}

/// A line without its end; nothing where the connection has ended.
fn line(lines: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    match lines.read_line(&mut line) {
        Ok(n) if n > 0 => Some(line.trim_end_matches(['\r', '\n']).to_owned()),
        _ => None,
    }
}

impl Reply {
    fn read(socket: TcpStream) -> Self {
        let mut lines = BufReader::new(socket);
        let (status, headers) = head(&mut lines);
        let n = match status {
            204 => 0,
            _ => header(&headers, "content-length").unwrap().parse().unwrap(),
        };
        let mut body = vec![0; n];
        lines.read_exact(&mut body).unwrap();
        Self { status, headers, body }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body as it came.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// The lines of a body that is a text.
    pub(crate) fn lines(&self) -> Vec<String> {
        String::from_utf8(self.body.clone()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The text of the answer.
    pub(crate) fn text(&self) -> String {
        self.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    /// The log index of the answer's entry.
    pub(crate) fn entry(&self) -> u64 {
        self.header("x-counterfoil-entry").unwrap().parse().unwrap()
    }

    /// The status and the code of an error in the form of OpenAI's.
    pub(crate) fn fault(&self) -> (u16, Option<String>) {
        let body = self.json();
        let error = body["error"].as_object().unwrap();
        assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "message", "param", "type"], "{body}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{body}");
        (self.status, error["code"].as_str().map(str::to_owned))
    }
}

impl Stream {
    /// The next event; nothing at the end of the stream or of the connection.
    pub(crate) fn event(&mut self) -> Option<String> {
        let mut event = Vec::new();
        while !event.ends_with(b"\n\n") {
            event.push(self.byte()?);
        }
        Some(String::from_utf8(event).unwrap().trim_end().strip_prefix("data: ").unwrap().to_owned())
    }

    fn byte(&mut self) -> Option<u8> {
        if self.over {
            return None;
        }
        if self.chunk_left == 0 {
            let size = line(&mut self.lines).and_then(|l| usize::from_str_radix(&l, 16).ok());
            self.chunk_left = size.unwrap_or_default();
            self.over = self.chunk_left == 0;
            return self.byte();
        }
        let mut byte = [0];
        self.over = self.lines.read_exact(&mut byte).is_err();
        self.chunk_left -= 1;
        if self.chunk_left == 0 {
            // The end of the chunk is a line of its own.
            let _ = line(&mut self.lines);
        }
        (!self.over).then_some(byte[0])
    }

    /// Reads until the next piece of text.
    pub(crate) fn first_text(&mut self) -> String {
        loop {
            let event: Value = serde_json::from_str(&self.event().unwrap()).unwrap();
            match event["choices"][0]["delta"]["content"].as_str() {
                None | Some("") => {}
                Some(text) => return text.to_owned(),
            }
        }
    }

    /// Reads this many pieces of text.
    pub(crate) fn texts(&mut self, count: usize) -> String {
        (0..count).map(|_| self.first_text()).collect()
    }

    /// Reads to the end.
    pub(crate) fn rest(mut self) -> Told {
        let mut told = Told::default();
        while let Some(event) = self.event() {
            if event == "[DONE]" {
                told.done = true;
                continue;
            }
            let mut event: Value = serde_json::from_str(&event).unwrap();
            told.text += event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
            let finish = event["choices"][0]["finish_reason"].as_str().map(str::to_owned);
            told.finish = finish.or(told.finish);
            for (name, member) in
                [("usage", &mut told.usage), ("counterfoil", &mut told.own), ("error", &mut told.error)]
            {
                if let Some(value) = event.get_mut(name).filter(|v| !v.is_null()) {
                    *member = value.take();
                }
            }
        }
        told
    }
}
