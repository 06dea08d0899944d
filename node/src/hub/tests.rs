mod tls;

use std::net::SocketAddr;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::*;
use crate::fetch::tests::{MIB, bytes, record};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_secret";

/// What is wrong with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// One byte of the second chunk.
    WrongByte,
    /// The whole file, whatever range was asked for.
    Whole,
    /// Another range than the one that was asked for.
    OtherRange,
    Missing,
    /// Not allowed.
    Denied,
    /// Twice asked to wait, then well.
    Busy,
    /// Twice the beginning of the range, then well.
    Short,
    /// Twice a connection that breaks, then well.
    Cut,
    /// Every file lies somewhere else, behind two redirects.
    Elsewhere(SocketAddr),
    /// To itself, for ever.
    Loop,
    /// Always broken.
    Broken,
}

/// Path, range and whether the token came, of one request.
type Asked = (String, String, bool);

/// A server of two files, of which one expert has a part, another part and a third one.
pub(crate) struct Web {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

#[derive(Clone)]
struct Shop {
    lie: Lie,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Web {
    pub(crate) async fn serve(lie: Lie) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let asked = Arc::default();
        let shop = Shop { lie, asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(shop.clone().sell(stream));
            }
        });
        Self { addr, asked }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(crate) fn repository(&self) -> Repository {
        Repository { repo: "owner/model-1.5".to_owned(), revision: COMMIT.to_owned() }
    }

    /// Every request.
    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn shard(&self, position: u64) -> HubShard {
        let config =
            HubConfig { endpoint: self.endpoint(), token: Some(TOKEN.to_owned()), allow_branch: false };
        let hub = Arc::new(Hub::new(&config).unwrap());
        let pinned = hub.repository(&self.repository()).unwrap();
        let files = ["a.bin", "b c.bin"].map(|name| FileRecord { name: name.to_owned(), size: 0 });
        hub.shard(&pinned, &files, &record(&bytes()), position)
    }

    async fn read(&self, position: u64) -> Result<Vec<u8>, HubError> {
        let mut shard = self.shard(position);
        let mut out = Vec::new();
        let left = bytes().len() - usize::try_from(position).unwrap();
        while out.len() < left {
            let chunk = shard.chunk().await?;
            assert_eq!(chunk.len(), MIB.min(left - out.len()));
            out.extend(chunk);
        }
        Ok(out)
    }
}

/// The files as the record's parts say: gate at 10 and down at 900,000 of the one, up at 0 of the other.
fn file(path: &str) -> Vec<u8> {
    let whole = bytes();
    if path.ends_with("b%20c.bin") {
        return whole[700_000..1_400_000].to_vec();
    }
    let mut file = vec![0xee; 900_000];
    file[10..700_010].copy_from_slice(&whole[..700_000]);
    file.extend(&whole[1_400_000..]);
    file
}

type Body = BoxBody<Bytes, std::io::Error>;

fn body(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed()
}

/// The beginning, and then a connection that breaks.
fn cut(bytes: &[u8]) -> Body {
    let begun = Frame::data(Bytes::from(bytes[..5].to_vec()));
    let pieces = [Ok(begun), Err(std::io::Error::other("cut"))];
    BodyExt::boxed(StreamBody::new(futures_util::stream::iter(pieces)))
}

impl Shop {
    /// Answers on one connection until it ends.
    async fn sell(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let answer = service_fn(move |request| {
            let response = self.answer(&request);
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        let served = hyper::server::conn::http1::Builder::new();
        // Whoever asked learns what broke.
        let _ = served.serve_connection(TokioIo::new(stream), answer).await;
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let (shop, uri, headers) = (self, request.uri(), request.headers());
        let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let (range, token) = (text("range"), text("authorization"));
        assert!(token.is_empty() || token == format!("Bearer {TOKEN}"));
        let nth = {
            let mut asked = shop.asked.lock().unwrap();
            asked.push((uri.to_string(), range.clone(), !token.is_empty()));
            asked.len()
        };
        let plain = |status: u16| Response::builder().status(status);
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        let mut file = file(uri.path());
        if shop.lie == Lie::WrongByte && !uri.path().contains("b%20c") {
            // Byte 1,400,000 of the shard, in its second chunk.
            file[900_000] ^= 1;
        }
        let total = file.len();
        let part = file[first..=last].to_vec();
        let partial = |first: usize| {
            let range = format!("bytes {first}-{last}/{total}");
            plain(206).header("content-range", range)
        };
        match shop.lie {
            Lie::Whole => plain(200).body(body(file)).unwrap(),
            Lie::OtherRange => partial(first + 1).body(body(part)).unwrap(),
            Lie::Missing => plain(404).body(body(Vec::new())).unwrap(),
            Lie::Denied => plain(401).body(body(Vec::new())).unwrap(),
            Lie::Busy if nth <= 2 => plain(429).header("retry-after", "0").body(body(Vec::new())).unwrap(),
            Lie::Short if nth <= 2 => partial(first).body(body(part[..5].to_vec())).unwrap(),
            Lie::Cut if nth <= 2 => partial(first).body(cut(&part)).unwrap(),
            Lie::Broken => plain(StatusCode::BAD_GATEWAY.as_u16()).body(body(Vec::new())).unwrap(),
            Lie::Loop => plain(302).header("location", uri.to_string()).body(body(Vec::new())).unwrap(),
            Lie::Elsewhere(_) if !uri.path().starts_with("/cache") => {
                let to = format!("/cache{}?sig=x%2Fy", uri.path());
                plain(307).header("location", to).body(body(Vec::new())).unwrap()
            }
            Lie::Elsewhere(other) => {
                let to = format!("http://{other}{}", uri.path());
                plain(302).header("location", to).body(body(Vec::new())).unwrap()
            }
            _ => partial(first).body(body(part)).unwrap(),
        }
    }
}

fn why(error: &HubError) -> &str {
    match error {
        HubError::Answer { why, .. } | HubError::Broken { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn three_ranges_in_order_are_the_shard() {
    let web = Web::serve(Lie::None).await;
    assert_eq!(web.read(0).await.unwrap(), bytes());
    let at = |file: &str| format!("/owner/model-1.5/resolve/{COMMIT}/{file}");
    let want = [
        (at("a.bin"), "bytes=10-700009".to_owned(), true),
        (at("b%20c.bin"), "bytes=0-699999".to_owned(), true),
        (at("a.bin"), "bytes=900000-1597251".to_owned(), true),
    ];
    assert_eq!(web.asked(), want);
}

#[tokio::test]
async fn a_shard_goes_on_inside_a_part() {
    let web = Web::serve(Lie::None).await;
    let from = u64::try_from(MIB).unwrap();
    assert_eq!(web.read(from).await.unwrap(), bytes()[MIB..]);
    assert_eq!(web.asked()[0].1, format!("bytes={}-699999", MIB - 700_000));
}

#[tokio::test]
async fn a_connection_that_breaks_is_made_anew() {
    let web = Web::serve(Lie::Cut).await;
    assert_eq!(web.read(0).await.unwrap(), bytes());
}

#[tokio::test]
async fn a_range_that_ends_early_goes_on_where_it_ended() {
    let web = Web::serve(Lie::Short).await;
    assert_eq!(web.read(0).await.unwrap(), bytes());
    let ranges: Vec<String> = web.asked().into_iter().map(|(_, range, _)| range).take(3).collect();
    assert_eq!(ranges, ["bytes=10-700009", "bytes=15-700009", "bytes=20-700009"]);
}

#[tokio::test]
async fn a_server_that_wants_to_be_left_alone_is_asked_again() {
    let web = Web::serve(Lie::Busy).await;
    assert_eq!(web.read(0).await.unwrap(), bytes());
    assert_eq!(web.asked().len(), 5);
}

#[tokio::test]
async fn a_server_that_stays_broken_is_given_up() {
    let web = Web::serve(Lie::Broken).await;
    let error = web.read(0).await.unwrap_err();
    assert_eq!(why(&error), "the server answered 502");
    assert_eq!(web.asked().len(), 5);
}

#[tokio::test]
async fn answers_that_are_no_use_are_not_asked_for_again() {
    let cases = [
        (Lie::Whole, "the whole file instead of the range that was asked for"),
        (Lie::OtherRange, "the range \"bytes 11-700009/1597252\" instead of \"bytes 10-700009/\""),
        (Lie::Missing, "no such repository, revision or file (404)"),
        (Lie::Denied, "not allowed (401); set COUNTERFOIL_HUB_TOKEN"),
    ];
    for (lie, want) in cases {
        let web = Web::serve(lie).await;
        let error = web.read(0).await.unwrap_err();
        assert_eq!(why(&error), want);
        assert_eq!(web.asked().len(), 1);
    }
}

#[tokio::test]
async fn redirects_are_followed_without_the_token() {
    let there = Web::serve(Lie::None).await;
    let web = Web::serve(Lie::Elsewhere(there.addr)).await;
    assert_eq!(web.read(0).await.unwrap(), bytes());
    assert!(web.asked().iter().all(|(_, _, token)| *token));
    assert_eq!(web.asked()[1].0, format!("/cache/owner/model-1.5/resolve/{COMMIT}/a.bin?sig=x%2Fy"));
    assert!(there.asked().iter().all(|(_, _, token)| !token));
    assert_eq!(there.asked().len(), 3);
}

#[tokio::test]
async fn redirects_have_an_end() {
    let web = Web::serve(Lie::Loop).await;
    let error = web.read(0).await.unwrap_err();
    assert_eq!(why(&error), "more than 5 redirects");
    assert_eq!(web.asked().len(), 6);
}

#[test]
fn a_revision_is_a_commit_unless_a_branch_is_allowed() {
    let hub = |allow_branch| {
        let endpoint = "http://localhost:1/mirror/".to_owned();
        Hub::new(&HubConfig { endpoint, token: None, allow_branch }).unwrap()
    };
    let at = |repo: &str, revision: &str| Repository { repo: repo.into(), revision: revision.into() };
    assert!(hub(false).repository(&at("a/b", COMMIT)).is_ok());
    for revision in ["main", &COMMIT[1..], &COMMIT.to_uppercase()] {
        let refused = hub(false).repository(&at("a/b", revision)).unwrap_err();
        assert_eq!(refused, HubError::Revision { repo: "a/b".into(), revision: revision.into() });
    }
    assert!(hub(true).repository(&at("a/b", "main")).is_ok());
    assert!(hub(true).repository(&at("a/b", "refs/pr/1")).is_err());
    for repo in ["a", "a/b/c", "/b", "a/", "../b", "a/..", "a/b?x", "a b/c"] {
        assert_eq!(
            hub(true).repository(&at(repo, COMMIT)).unwrap_err(),
            HubError::Repo { repo: repo.into() }
        );
    }
}

//= spec/session.md#fetching
//= type=test
//# Plain HTTP is for loopback addresses only.
#[test]
fn endpoint_is_https_or_on_this_machine() {
    let of = |endpoint: &str| {
        let config = HubConfig { endpoint: endpoint.to_owned(), ..HubConfig::default() };
        Hub::new(&config).map(|hub| hub.endpoint.to_string())
    };
    assert_eq!(of("https://Hub.example/x/").unwrap(), "https://Hub.example/x");
    assert_eq!(of("http://[::1]:9").unwrap(), "http://[::1]:9");
    let (endpoint, why) = ("http://hub.example", "http:// is for this machine only; use https://hub.example");
    assert_eq!(of(endpoint), Err(HubError::Endpoint { endpoint: endpoint.to_owned(), why: why.to_owned() }));
}

#[test]
fn a_token_is_never_shown() {
    let config = HubConfig { token: Some(TOKEN.to_owned()), ..HubConfig::default() };
    assert_eq!(format!("{config:?}"), "HubConfig(https://huggingface.co, a token)");
    let config = HubConfig { endpoint: "http://localhost:1".to_owned(), ..config };
    assert_eq!(format!("{:?}", Hub::new(&config).unwrap()), "Hub(http://localhost:1)");
}
