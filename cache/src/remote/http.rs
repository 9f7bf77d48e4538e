//! HTTP for object_store by ureq, which the program has for the Hugging Face hub: no second client, no second TLS.

use std::time::Duration;

use async_trait::async_trait;
use http_body_util::BodyExt;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{ClientOptions, Result};
use ureq::http::uri::Scheme;
use ureq::http::{Request, Response};
use ureq::{Agent, Error};

const CONNECT: Duration = Duration::from_secs(20);
/// A connection that gives nothing for so long counts as lost.
const SILENCE: Duration = Duration::from_secs(60);
/// Longest answer: the largest piece of an object that is asked for, and a page of a listing, fit well.
const MAX_ANSWER: u64 = 64 << 20;

/// Makes clients on ureq.
#[derive(Debug)]
pub(super) struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> Result<HttpClient> {
        let config = Agent::config_builder()
            .user_agent(concat!("retmask/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .http_status_as_error(false)
            // A signed request is for one address; it is not repeated elsewhere.
            .max_redirects(0)
            .allow_non_standard_methods(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .build();
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        Ok(HttpClient::new(Client { agent: config.into(), plain }))
    }
}

#[derive(Debug)]
struct Client {
    agent: Agent,
    /// Whether requests may go out without TLS.
    plain: bool,
}

#[async_trait]
impl HttpService for Client {
    /// One request and its answer, read whole. It blocks: each transfer has a thread and a runtime of its own.
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (mut parts, body) = request.into_parts();
        if parts.uri.scheme() != Some(&Scheme::HTTPS) && !self.plain {
            let refused = std::io::Error::other("an address without TLS; AWS_ALLOW_HTTP=true allows it");
            return Err(HttpError::new(HttpErrorKind::Unknown, refused));
        }
        let bytes = body.collect().await?.to_bytes();
        // ureq sets these itself, and must not find them twice.
        parts.headers.remove("host");
        parts.headers.remove("content-length");
        let answer = if bytes.is_empty() && !matches!(parts.method.as_str(), "PUT" | "POST") {
            self.agent.run(Request::from_parts(parts, ()))
        } else {
            self.agent.run(Request::from_parts(parts, &bytes[..]))
        };
        let (parts, mut body) = answer.map_err(failed)?.into_parts();
        let read = body.with_config().limit(MAX_ANSWER).read_to_vec();
        Ok(Response::from_parts(parts, HttpResponseBody::from(read.map_err(failed)?)))
    }
}

/// Says whether it is worth trying again.
fn failed(error: Error) -> HttpError {
    let kind = match &error {
        Error::HostNotFound | Error::ConnectionFailed => HttpErrorKind::Connect,
        Error::Timeout(_) => HttpErrorKind::Timeout,
        Error::Io(error) => match error.kind() {
            std::io::ErrorKind::ConnectionRefused => HttpErrorKind::Connect,
            std::io::ErrorKind::TimedOut => HttpErrorKind::Timeout,
            _ => HttpErrorKind::Interrupted,
        },
        _ => HttpErrorKind::Unknown,
    };
    HttpError::new(kind, error)
}
