//! One GET at a time: redirects followed by hand, so that the token stays with the hub; what passes is tried again.

use std::time::{Duration, SystemTime};

use ureq::http::header::{HeaderMap, LOCATION, RETRY_AFTER};
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use super::settings::Settings;
use super::token::Token;
use super::url::{Endpoint, Origin, follow};

/// The most redirects of one request; the hub needs two.
const REDIRECTS: usize = 6;
/// How often a request is made when the hub is busy or fails.
const ATTEMPTS: u32 = 5;
/// How often a request is made when there is no answer at all.
const UNANSWERED_ATTEMPTS: u32 = 3;
/// The first pause before trying again; each one after is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// A hub that asks for a longer pause is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// A connection that gives nothing for so long counts as lost.
const SILENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(20);
/// Bytes of response headers, redirects with long signatures included.
const LARGEST_HEADER: usize = 64 << 10;

/// Why there is no usable answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No answer: what happened, and where.
    Unanswered { host: String, reason: String },
    /// Somebody answers who cannot show to be the hub.
    Untrusted { host: String, reason: String },
    /// The answer is a refusal: the status, and the hub's own code for it.
    Refused { status: StatusCode, code: String },
    /// Too many requests, and the wait is too long or was in vain.
    Limited { wait: Option<Duration> },
    /// A redirect to where nothing may be fetched.
    Misled { reason: String },
}

/// What is said while the hub lets one wait.
pub(super) trait Waiting {
    fn waiting(&self, text: &str);
}

/// Asks the hub.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
    pub(super) endpoint: Endpoint,
    token: Option<Token>,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Self {
        let config = Agent::config_builder()
            .user_agent(concat!("retmask/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .http_status_as_error(false)
            .max_redirects(0)
            .max_response_header_size(LARGEST_HEADER)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .timeout_per_write(Some(SILENCE))
            .tls_config(TlsConfig::builder().root_certs(settings.certificates.clone()).build())
            .build();
        Self { agent: config.into(), endpoint: settings.endpoint.clone(), token: settings.token.clone() }
    }

    /// Whether requests carry a token.
    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The answer to a GET of a path of the hub, from byte `from` on: success, or 416 where there is no such byte.
    /// Waits and asks again when the hub is busy or out of reach.
    pub(super) fn get(&self, path: &str, from: u64, waiting: &dyn Waiting) -> Result<Response<Body>, Failure> {
        let mut pause = PAUSE;
        let mut attempt = 1;
        loop {
            let failure = match self.once(path, from) {
                Ok(response) => {
                    let status = response.status();
                    if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
                        return Ok(response);
                    }
                    refusal(&response)
                }
                Err(failure) => failure,
            };
            let wait = match &failure {
                Failure::Limited { wait } => wait.unwrap_or(pause),
                Failure::Refused { status, .. } if status.is_server_error() => pause,
                Failure::Unanswered { .. } if attempt < UNANSWERED_ATTEMPTS => pause,
                _ => return Err(failure),
            };
            if attempt >= ATTEMPTS || wait > LONGEST_PAUSE {
                return Err(failure);
            }
            if wait >= Duration::from_secs(1) {
                waiting.waiting(&format!("{} is busy; asking again in {} s", self.endpoint.origin, wait.as_secs()));
            }
            std::thread::sleep(wait);
            attempt += 1;
            pause *= 2;
        }
    }

    /// One request and its redirects, whatever the status at the end.
    fn once(&self, path: &str, from: u64) -> Result<Response<Body>, Failure> {
        let misled = |reason: String| Failure::Misled { reason };
        let address = self.endpoint.address(path);
        let mut uri: Uri = address.parse().map_err(|_| misled("the address cannot be written".into()))?;
        for _ in 0..=REDIRECTS {
            let Some(origin) = Origin::of(&uri) else {
                return Err(misled("the address is not an http address".into()));
            };
            let mut request = self.agent.get(uri.clone());
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            // Storage on another host has its signature in the address, and must not see the token.
            if let Some(token) = self.token.as_ref().filter(|_| origin == self.endpoint.origin) {
                request = request.header("authorization", token.header());
            }
            let response = request.call().map_err(|error| unanswered(&origin, &error))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let location = header(response.headers(), LOCATION.as_str());
            let Some(next) = location.and_then(|location| follow(&uri, location)) else {
                return Err(misled(format!("{origin} redirects to no http address")));
            };
            if origin.is_encrypted() && !Origin::of(&next).is_some_and(|next| next.is_encrypted()) {
                return Err(misled(format!("{origin} redirects from https to http")));
            }
            uri = next;
        }
        Err(misled(format!("{} redirects more than {REDIRECTS} times", self.endpoint.origin)))
    }
}

/// A header's value, where it is text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn refusal(response: &Response<Body>) -> Failure {
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Failure::Limited { wait: retry_after(response.headers(), SystemTime::now()) };
    }
    Failure::Refused { status, code: header(response.headers(), "x-error-code").unwrap_or_default().to_owned() }
}

/// How long to wait: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = header(headers, RETRY_AFTER.as_str())?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    Some(SystemTime::from(date.timestamp()).duration_since(now).unwrap_or_default())
}

/// The reason without the address, whose query may be a signature.
fn unanswered(origin: &Origin, error: &ureq::Error) -> Failure {
    let untrusted = |reason: String| Failure::Untrusted { host: origin.to_string(), reason };
    let reason = match error {
        // A handshake that fails comes as an I/O error, too.
        ureq::Error::Io(error) if error.to_string().contains("certificate") => return untrusted(error.to_string()),
        ureq::Error::Rustls(error) => return untrusted(error.to_string()),
        ureq::Error::Tls(reason) => return untrusted((*reason).to_owned()),
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => "no answer in time".into(),
        ureq::Error::HostNotFound => "there is no such host".into(),
        ureq::Error::ConnectionFailed => "no connection".into(),
        ureq::Error::InvalidProxyUrl => "HTTPS_PROXY or HTTP_PROXY is no address of a proxy".into(),
        ureq::Error::ConnectProxyFailed(_) => "the proxy refuses the connection".into(),
        ureq::Error::Protocol(_) => "the answer is not HTTP".into(),
        ureq::Error::LargeResponseHeader(..) => "the answer's header is too large".into(),
        _ => "the request failed".into(),
    };
    Failure::Unanswered { host: origin.to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_seconds_or_a_date() {
        let wait = |value: &str, now: u64| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(now)).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("7", 0), Some(7));
        // 784 111 777 seconds after 1970.
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_700), Some(77));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_800), Some(0));
        assert_eq!(wait("soon", 0), None);
    }
}
