//! A small service that takes JSON by POST, with the faults a test asks for.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

/// What happens to a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// 200 with this text.
    Text(String),
    /// This status with this text.
    Status(u16, String),
    /// More is announced than comes.
    Cut,
    /// A stream of pieces without an end.
    CutStream,
    /// A letter now and then, for so long.
    Drip(Duration),
    /// Nothing comes, and the connection stays for so long.
    Stall(Duration),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

type Answer = dyn Fn(&Value) -> Reply + Send + Sync;

/// What the service does and has seen.
struct State {
    faults: VecDeque<Reply>,
    asked: Vec<Asked>,
    answer: Arc<Answer>,
}

/// A running service; its threads end with the test's process.
pub struct Service {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Service {
    /// A service that answers requests by their bodies.
    pub fn start(answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = State { faults: VecDeque::new(), asked: Vec::new(), answer: Arc::new(answer) };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A client that goes away in the middle is no fault of the service.
                std::thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What the next requests get before any answer.
    pub fn fail(&self, faults: impl IntoIterator<Item = Reply>) {
        self.state.lock().expect("the state").faults.extend(faults);
    }

    /// Answers by another rule from now on.
    pub fn answer(&self, answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) {
        self.state.lock().expect("the state").answer = Arc::new(answer);
    }

    /// Makes the program ask this service under this name, with this token, and wait for a second at most.
    pub fn serve(&self, command: &mut std::process::Command, name: &str, token: &str) {
        for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(variable);
        }
        command.env(format!("RETMASK_{name}_URL"), self.url()).env(format!("RETMASK_{name}_TOKEN"), token);
        command.env(format!("RETMASK_{name}_TIMEOUT"), "1");
    }

    /// The requests since the last look.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().expect("the state").asked)
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let (mut length, mut authorization) = (0usize, None);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => authorization = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let reply = {
            let mut state = state.lock().expect("the state");
            state.asked.push(Asked { path, authorization, body: body.clone() });
            state.faults.pop_front().map_or_else(|| Err(Arc::clone(&state.answer)), Ok)
        };
        let reply = reply.unwrap_or_else(|answer| answer(&body));
        let (status, text) = match &reply {
            Reply::Text(text) => (200, text.as_str()),
            Reply::Status(status, text) => (*status, text.as_str()),
            Reply::Cut => (200, "{\"choices\": [{\"mess"),
            Reply::CutStream => {
                write!(writer, "HTTP/1.1 200 S\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{{\"choic\r\n40\r\nes\": [")?;
                return writer.shutdown(std::net::Shutdown::Both);
            }
            Reply::Drip(time) => {
                write!(writer, "HTTP/1.1 200 S\r\ncontent-length: 100000\r\n\r\n")?;
                let end = std::time::Instant::now() + *time;
                while std::time::Instant::now() < end {
                    writer.write_all(b" ")?;
                    writer.flush()?;
                    std::thread::sleep(Duration::from_millis(100));
                }
                return Ok(());
            }
            Reply::Stall(time) => {
                std::thread::sleep(*time);
                return Ok(());
            }
        };
        let announced = if matches!(reply, Reply::Cut) { text.len() + 500 } else { text.len() };
        write!(
            writer,
            "HTTP/1.1 {status} S\r\ncontent-type: application/json\r\ncontent-length: {announced}\r\n\r\n{text}"
        )?;
        writer.flush()?;
        if matches!(reply, Reply::Cut) {
            return writer.shutdown(std::net::Shutdown::Both);
        }
    }
}
