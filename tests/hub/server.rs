//! A small server that speaks the protocol of the Hugging Face hub, with the faults a test asks for.
//!
//! Two ports: the hub, which lists repositories and serves small files, and a storage, to which large files are
//! redirected with a signature in the address, as the hub does.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// What `main` stands for.
pub const COMMIT: &str = "1f0c3a52d8b64e97a1c25d3b7e8f904612ab34cd";
/// The repository that is there.
pub const REPOSITORY: &str = "owner/tiny";
/// Stands in every address of the storage, and must be seen nowhere.
pub const SIGNATURE: &str = "c2lnbmF0dXJl";
/// Files from this size on are large ones.
const LARGE: usize = 1 << 20;

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub is_storage: bool,
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

/// What happens to the next bodies of large files, one after another; then they are whole.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// The connection ends after so many bytes of the body, though more were announced.
    CutAfter(usize),
    /// The connection ends after so many bytes, and their number was not announced.
    EndAfter(usize),
    /// Nothing comes after so many bytes, and the connection stays.
    StallAfter(usize),
    /// So many bytes are announced and sent, as if they were all.
    ShortBy(usize),
    /// One byte is another.
    Altered,
    /// The wanted range is not looked at.
    WholeFile,
    /// 429, with this Retry-After.
    Busy(&'static str),
    /// This status, and this X-Error-Code.
    Status(u16, &'static str),
}

/// What the server has and does.
pub struct State {
    pub commit: String,
    pub files: Vec<(String, Vec<u8>)>,
    /// Requests to the hub must carry it.
    pub token: Option<String>,
    /// Every request to the hub is refused with this status and code.
    pub refusal: Option<(u16, &'static str)>,
    /// The hub's list of files is this, whatever the files are.
    pub siblings: Option<Value>,
    pub list_faults: VecDeque<Fault>,
    pub faults: VecDeque<Fault>,
    pub seen: Vec<Seen>,
}

pub struct HubServer {
    hub: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    ports: [SocketAddr; 2],
}

impl HubServer {
    /// A server with these files in [`REPOSITORY`].
    pub fn new(files: Vec<(String, Vec<u8>)>) -> Self {
        let state = State {
            commit: COMMIT.into(),
            files,
            token: None,
            refusal: None,
            siblings: None,
            list_faults: VecDeque::new(),
            faults: VecDeque::new(),
            seen: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let stop = Arc::new(AtomicBool::new(false));
        let listeners = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a port"));
        let ports = [0, 1].map(|index: usize| listeners[index].local_addr().expect("an address"));
        for (index, listener) in listeners.into_iter().enumerate() {
            let (state, stop) = (state.clone(), stop.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let (state, stream) = (state.clone(), stream.expect("a connection"));
                    std::thread::spawn(move || answer(&state, stream, index == 1, ports));
                }
            });
        }
        Self { hub: ports[0], state, stop, ports }
    }

    /// The files of the built-in model.
    pub fn tiny_files() -> Vec<(String, Vec<u8>)> {
        let files = retmask_model::embedded::find("tiny").expect("the built-in model");
        files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect()
    }

    /// A server with the built-in model, and with files nobody needs.
    pub fn with_tiny() -> Self {
        let mut files = Self::tiny_files();
        for name in [".gitattributes", "README.md", "original/params.json", "pytorch_model.bin"] {
            files.push((name.into(), format!("{name}: of no use").into_bytes()));
        }
        Self::new(files)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.hub)
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no request failed")
    }

    /// The requests since the last call.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state().seen)
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for port in self.ports {
            // Wakes the listener, which then ends.
            drop(TcpStream::connect(port));
        }
    }
}

/// The digest of a large file.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Git's id of a file.
pub fn git_blob(bytes: &[u8]) -> String {
    let mut hasher = Sha1::new();
    hasher.update(format!("blob {}\0", bytes.len()));
    hasher.update(bytes);
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest a file has at the hub, which names its blob.
pub fn blob_name(bytes: &[u8]) -> String {
    if bytes.len() >= LARGE { sha256(bytes) } else { git_blob(bytes) }
}

/// One request, one answer, one connection.
fn answer(state: &Mutex<State>, stream: TcpStream, is_storage: bool, ports: [SocketAddr; 2]) {
    // A test that fails must not wait for a connection that says nothing.
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
    let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut seen = Seen { is_storage, path, range: None, authorization: None };
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) == 0 || header.trim().is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').expect("a header");
        let value = Some(value.trim().to_owned());
        match name.to_ascii_lowercase().as_str() {
            "range" => seen.range = value,
            "authorization" => seen.authorization = value,
            _ => {}
        }
    }
    let mut state = state.lock().expect("no request failed");
    state.seen.push(seen.clone());
    let answer = if is_storage { storage(&mut state, &seen) } else { hub(&mut state, &seen, ports) };
    drop(state);
    let mut stream = stream;
    let mut head = format!("HTTP/1.1 {} -\r\nconnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    // The client may have gone: what it makes of that is what the test looks at.
    let _ = stream.write_all(format!("{head}\r\n").as_bytes()).and_then(|()| stream.write_all(&answer.body));
    if !answer.stalls {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let _ = reader.read(&mut [0]);
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Whether the connection stays open after the body.
    stalls: bool,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self { status, headers: vec![("content-length", "0".into())], body: Vec::new(), stalls: false }
    }

    fn refusal(status: u16, code: &str) -> Self {
        let mut answer = Self::status(status);
        if !code.is_empty() {
            answer.headers.push(("x-error-code", code.into()));
        }
        answer
    }

    fn redirect(status: u16, location: String) -> Self {
        let mut answer = Self::status(status);
        answer.headers.push(("location", location));
        answer
    }

    fn whole(body: Vec<u8>) -> Self {
        Self { status: 200, headers: vec![("content-length", body.len().to_string())], body, stalls: false }
    }
}

fn hub(state: &mut State, seen: &Seen, [_, storage]: [SocketAddr; 2]) -> Answer {
    if let Some((status, code)) = state.refusal {
        return Answer::refusal(status, code);
    }
    if state.token.as_ref().is_some_and(|token| seen.authorization != Some(format!("Bearer {token}"))) {
        return Answer::refusal(401, "RepoNotFound");
    }
    let path = seen.path.split('?').next().unwrap_or_default();
    if let Some(rest) = path.strip_prefix("/api/models/").or_else(|| path.strip_prefix("/api/datasets/")) {
        // A repository that was renamed is redirected, by a path of the same host.
        if let Some(rest) = rest.strip_prefix("former/tiny") {
            return Answer::redirect(307, format!("/api/models/{REPOSITORY}{rest}?blobs=true"));
        }
        let Some(revision) = rest.strip_prefix(&format!("{REPOSITORY}/revision/")) else {
            return Answer::refusal(404, "RepoNotFound");
        };
        if revision != "main" && revision != state.commit && revision != "refs%2Fpr%2F1" {
            return Answer::refusal(404, "RevisionNotFound");
        }
        let siblings = state.siblings.clone().unwrap_or_else(|| state.files.iter().map(sibling).collect());
        let list = json!({ "id": REPOSITORY, "sha": state.commit, "siblings": siblings });
        let body = list.to_string().into_bytes();
        return match state.list_faults.pop_front() {
            Some(fault) => faulty(fault, body, 0),
            None => Answer::whole(body),
        };
    }
    let file = path.split_once(&format!("/resolve/{}/", state.commit)).map(|(_, file)| file.to_owned());
    let Some((name, bytes)) = state.files.iter().find(|(name, _)| Some(name) == file.as_ref()) else {
        return Answer::refusal(404, "EntryNotFound");
    };
    if bytes.len() >= LARGE {
        return Answer::redirect(302, format!("http://{storage}/{name}?X-Signature={SIGNATURE}"));
    }
    Answer::whole(bytes.clone())
}

fn sibling((name, bytes): &(String, Vec<u8>)) -> Value {
    let mut sibling = json!({ "rfilename": name, "size": bytes.len(), "blobId": git_blob(bytes) });
    if bytes.len() >= LARGE {
        sibling["lfs"] = json!({ "sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 134 });
    }
    sibling
}

fn storage(state: &mut State, seen: &Seen) -> Answer {
    let name = seen.path.trim_start_matches('/').split('?').next().unwrap_or_default();
    let Some((_, bytes)) = state.files.iter().find(|(found, _)| found == name) else { return Answer::status(404) };
    let bytes = bytes.clone();
    let from = seen.range.as_ref().map_or(0, |range| {
        let first = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
        first.and_then(|first| first.parse().ok()).expect("an open range")
    });
    match state.faults.pop_front() {
        Some(fault) => faulty(fault, bytes, from),
        None => part(&bytes, from),
    }
}

/// The file from a byte on, as a server that knows ranges gives it.
fn part(bytes: &[u8], from: usize) -> Answer {
    if from == 0 {
        return Answer::whole(bytes.to_vec());
    }
    if from >= bytes.len() {
        return Answer::status(416);
    }
    let mut answer = Answer::whole(bytes[from..].to_vec());
    answer.status = 206;
    answer.headers.push(("content-range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())));
    answer
}

fn faulty(fault: Fault, bytes: Vec<u8>, from: usize) -> Answer {
    let mut answer = part(&bytes, from);
    match fault {
        Fault::CutAfter(count) => answer.body.truncate(count),
        Fault::StallAfter(count) => {
            answer.body.truncate(count);
            answer.stalls = true;
        }
        Fault::EndAfter(count) => {
            answer.body.truncate(count);
            answer.headers.retain(|(name, _)| *name != "content-length");
        }
        Fault::ShortBy(count) => {
            let length = bytes.len() - count;
            return Answer::whole(bytes[..length].to_vec());
        }
        Fault::Altered => {
            let middle = answer.body.len() / 2;
            answer.body[middle] ^= 1;
        }
        Fault::WholeFile => return Answer::whole(bytes),
        Fault::Busy(wait) => {
            answer = Answer::status(429);
            answer.headers.push(("retry-after", wait.into()));
        }
        Fault::Status(status, code) => answer = Answer::refusal(status, code),
    }
    answer
}
