//! Requests that are made again while that may help.

use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::StatusCode;
use ureq::http::header::RETRY_AFTER;
use ureq::{Agent, Body, http::Response};

use super::address::Address;
use crate::contract::Cancel;

/// How often a request is made.
const ATTEMPTS: u32 = 5;
/// The first pause before trying again; each one after is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// A service that asks for a longer pause is asked again after this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often it is looked whether the user wants to stop.
const LOOK: Duration = Duration::from_millis(50);
/// Replies are some kilobytes.
const LARGEST_REPLY: u64 = 8 << 20;
const CONNECT: Duration = Duration::from_secs(20);

/// Why there is no usable reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The service refuses this one request: too long, or not wanted. Others may be answered.
    Refused(String),
    /// It replied each time, and never with what was asked for.
    Unusable(String),
    /// It refuses every request: a wrong address or token.
    Denied(String),
    /// There was no reply, or the service failed, each time.
    Unanswered(String),
    /// The user wants to stop.
    Stopped,
}

/// What one attempt came to.
enum Attempt {
    Final(Failure),
    Again { failure: Failure, wait: Option<Duration> },
}

/// Asks one service.
pub struct Client {
    agent: Agent,
    address: Address,
}

impl Client {
    pub fn new(address: Address) -> Self {
        let config = Agent::config_builder()
            .user_agent(concat!("retmask/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            // A token goes to the address it was given for.
            .max_redirects(0)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(address.silence))
            // A reply comes whole: one that drips takes no longer than silence may.
            .timeout_recv_body(Some(address.silence))
            .timeout_per_read(Some(address.silence))
            .timeout_per_write(Some(address.silence))
            .build();
        Self { agent: config.into(), address }
    }

    /// Posts `body(attempt)` below the service's address and reads the reply. A reply that `read` refuses is asked for
    /// again, as are failures that may pass.
    ///
    /// # Errors
    /// Why there is no usable reply. No reason holds the token, or anything a service wrote but short codes.
    pub fn post<T>(
        &self,
        path: &str,
        body: impl Fn(u32) -> Value,
        cancel: &Cancel,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let mut pause = PAUSE;
        let mut attempt = 0;
        loop {
            if cancel.is_cancelled() {
                return Err(Failure::Stopped);
            }
            let (failure, wait) = match self.once(path, &body(attempt)) {
                Ok(reply) => match read(&reply) {
                    Ok(value) => return Ok(value),
                    Err(why) => (Failure::Unusable(why), None),
                },
                Err(Attempt::Final(failure)) => return Err(failure),
                Err(Attempt::Again { failure, wait }) => (failure, wait),
            };
            attempt += 1;
            if attempt >= ATTEMPTS {
                return Err(failure);
            }
            sleep(wait.unwrap_or(pause).min(LONGEST_PAUSE), cancel);
            pause *= 2;
        }
    }

    fn once(&self, path: &str, body: &Value) -> Result<Value, Attempt> {
        let again = |reason: String| Attempt::Again { failure: Failure::Unanswered(reason), wait: None };
        let mut request =
            self.agent.post(format!("{}{path}", self.address.base)).header("content-type", "application/json");
        if let Some(token) = &self.address.token {
            request = request.header("authorization", token.header());
        }
        let mut response = request.send(body.to_string()).map_err(|error| match error {
            ureq::Error::BadUri(_) => Attempt::Final(Failure::Denied("the address cannot be used".into())),
            error => again(unanswered(&error)),
        })?;
        let status = response.status();
        let text = response.body_mut().with_config().limit(LARGEST_REPLY).read_to_vec();
        if status.is_success() {
            let text = text.map_err(|error| again(unanswered(&error)))?;
            return serde_json::from_slice(&text).map_err(|_| again("the reply is cut off, or not JSON".into()));
        }
        // What a service says of a failure may repeat what it was sent; only a code of it is said.
        let code = text.ok().and_then(|text| serde_json::from_slice(&text).ok()).and_then(|said| code(&said));
        let reason = format!("status {}{}", status.as_u16(), code.map(|code| format!(" ({code})")).unwrap_or_default());
        Err(match status.as_u16() {
            408 | 409 | 425 | 429 | 500.. => {
                Attempt::Again { failure: Failure::Unanswered(reason), wait: retry_after(&response, status) }
            }
            400 | 413 | 422 => Attempt::Final(Failure::Refused(reason)),
            _ => Attempt::Final(Failure::Denied(reason)),
        })
    }
}

/// The code of an error as OpenAI-compatible services give it: one short word.
fn code(said: &Value) -> Option<String> {
    let error = said.get("error")?;
    let word = |name: &str| error.get(name).and_then(Value::as_str);
    let allowed = |text: &&str| {
        text.len() <= 48 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && !text.is_empty()
    };
    word("code").filter(allowed).or_else(|| word("type").filter(allowed)).map(str::to_owned)
}

fn retry_after(response: &Response<Body>, status: StatusCode) -> Option<Duration> {
    let asked = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let value = response.headers().get(RETRY_AFTER).filter(|_| asked)?.to_str().ok()?;
    value.trim().parse().ok().map(Duration::from_secs)
}

fn unanswered(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "no reply in time".into(),
        ureq::Error::HostNotFound => "there is no such host".into(),
        ureq::Error::ConnectionFailed => "no connection".into(),
        ureq::Error::BodyExceedsLimit(_) => "the reply is larger than any".into(),
        ureq::Error::Io(error) => error.kind().to_string(),
        ureq::Error::Protocol(_) => "the reply is cut off, or not HTTP".into(),
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => "the encryption failed; is the certificate good?".into(),
        _ => "the request failed".into(),
    }
}

fn sleep(wait: Duration, cancel: &Cancel) {
    let end = Instant::now() + wait;
    while !cancel.is_cancelled() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(LOOK));
    }
}
