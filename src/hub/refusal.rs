//! What a refusal of the hub means for the user, and what to do about it.

use std::time::Duration;

use super::http::{Client, Failure};
use super::names::{Repository, Revision};
use crate::error::Error;

/// What was asked for.
pub(super) struct Subject<'a> {
    pub(super) repository: &'a Repository,
    pub(super) revision: &'a Revision,
    /// A file, or `None` for the repository's list of files.
    pub(super) file: Option<&'a str>,
}

/// The error for a failed request.
pub(super) fn explain(client: &Client, subject: &Subject<'_>, failure: &Failure) -> Error {
    let Subject { repository, revision, file } = subject;
    let hub = &client.endpoint.origin;
    let what = match file {
        Some(file) => format!("{file} of {repository}"),
        None => repository.to_string(),
    };
    match failure {
        Failure::Refused { status, code } => refused(client, subject, status.as_u16(), code),
        Failure::Limited { wait } => Error::environment(format!(
            "{hub} limits the rate of requests, and {what} was not fetched{}",
            wait.map_or(String::new(), |wait| format!(": it asks to wait {}", minutes(wait)))
        ))
        .with_hint("run again later; what has been downloaded is kept. Requests with a token have a higher limit"),
        Failure::Misled { reason } => Error::environment(format!("cannot fetch {what}: {reason}"))
            .with_hint("check HF_ENDPOINT, and what stands between here and there"),
        Failure::Untrusted { host, reason } => {
            Error::environment(format!("cannot fetch {what} at {revision}: {host} cannot be trusted: {reason}"))
                .with_hint(
                    "for a mirror or a proxy with an authority of its own, name its certificates in SSL_CERT_FILE",
                )
        }
        Failure::Unanswered { host, reason } => {
            Error::environment(format!("cannot fetch {what} at {revision}: {host} does not answer: {reason}"))
                .with_hint("what has been downloaded is kept; with HF_HUB_OFFLINE=1 only that is used")
        }
    }
}

fn refused(client: &Client, subject: &Subject<'_>, status: u16, code: &str) -> Error {
    let Subject { repository, revision, file } = subject;
    let kind = repository.kind.name();
    let page = client.endpoint.address(&format!("/{}{repository}", repository.kind.address_prefix()));
    let settings = client.endpoint.address("/settings/tokens");
    match (status, code) {
        (401 | 403, "GatedRepo") => {
            let error =
                Error::input(format!("the {kind} {repository} is gated: its owner asks for an agreement first"));
            error.with_hint(if client.has_token() {
                format!(
                    "accept the licence at {page} with the account of the token that is set, and wait until access is \
                     granted; a fine-grained token must be allowed to read gated repositories"
                )
            } else {
                format!("accept the licence at {page}, then set HF_TOKEN to a token of that account ({settings})")
            })
        }
        (401, _) if client.has_token() => Error::input(format!(
            "the hub does not accept the token for {repository}: it is wrong or expired, or the {kind} is private or \
             does not exist"
        ))
        .with_hint(format!("check the name at {page}, and set HF_TOKEN to a valid token ({settings})")),
        (401, _) => Error::input(format!("there is no {kind} {repository}, or it is private"))
            .with_hint(format!("check the name; for a private one set HF_TOKEN to a token with access ({settings})")),
        (403, _) => Error::input(format!("the token may not read the {kind} {repository}"))
            .with_hint(format!("give it read access to the contents of repositories at {settings}")),
        (404, "RevisionNotFound") => Error::input(format!("{repository} has no revision `{revision}`"))
            .with_hint(format!("its branches and tags are listed at {page}/tree/main")),
        (404, "EntryNotFound") if file.is_some() => no_file(subject),
        (404, "") if file.is_some() => no_file(subject),
        (404, _) => Error::input(format!("there is no {kind} {repository} with the revision `{revision}`"))
            .with_hint(format!("check the name at {page}")),
        (status, _) => Error::environment(format!(
            "{} answers {status} when asked for {}{repository} at {revision}",
            client.endpoint.origin,
            file.map_or(String::new(), |file| format!("{file} of "))
        ))
        .with_hint("run again later; what has been downloaded is kept"),
    }
}

fn no_file(subject: &Subject<'_>) -> Error {
    let Subject { repository, revision, file } = subject;
    Error::input(format!("{repository} has no file {} at {revision}", file.unwrap_or_default()))
}

fn minutes(wait: Duration) -> String {
    let seconds = wait.as_secs();
    if seconds < 120 { format!("{seconds} s") } else { format!("{} minutes", seconds.div_ceil(60)) }
}
