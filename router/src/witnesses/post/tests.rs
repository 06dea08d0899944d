use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Answers one request with these bytes; gives its address and what it was asked.
async fn witness(answer: String) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"the body\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        // Whoever reads no further than a limit has gone away.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
        String::from_utf8(asked).unwrap()
    });
    (address, task)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_request_goes_below_the_prefix_and_its_answer_comes_back() {
    for prefix in ["", "/", "/w", "/w/"] {
        let (at, asked) = witness(answer("409 Conflict", "7\n")).await;
        let said = ask(&format!("http://{at}{prefix}"), "the body\n".to_owned()).await.unwrap();
        assert_eq!((said.status, said.body.as_str()), (409, "7\n"));
        let below = prefix.trim_end_matches('/');
        let asked = asked.await.unwrap();
        assert!(asked.starts_with(&format!("POST {below}/add-checkpoint HTTP/1.1\r\n")), "{asked}");
        assert!(
            asked.contains(&format!("host: {at}\r\n")) && asked.ends_with("\r\n\r\nthe body\n"),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn an_answer_over_the_limit_and_a_url_that_is_none_are_refused() {
    let longest = "x".repeat(MAX_ANSWER_BYTES);
    let (at, _asked) = witness(answer("200 OK", &longest)).await;
    let said = ask(&format!("http://{at}"), "the body\n".to_owned()).await.unwrap();
    assert_eq!(said.body, longest);
    let (at, _asked) = witness(answer("200 OK", &format!("{longest}x"))).await;
    let refused = ask(&format!("http://{at}"), "the body\n".to_owned()).await;
    assert_eq!(refused.map(|said| said.status), Err("length limit exceeded".to_owned()));
    for (url, why) in [
        ("ftp://127.0.0.1:9", "ftp:// is not spoken here; use https://"),
        ("127.0.0.1", "it is no https:// address"),
        ("https://127.0.0.1:9 /", "it holds ' '"),
    ] {
        let refused = ask(url, String::new()).await.map(|said| said.status);
        assert_eq!(refused, Err(why.to_owned()), "{url}");
    }
}
