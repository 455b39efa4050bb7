//! Owns a small server that stands for a Prometheus and for a webhook, and answers as it is told. Must not
//! know: who asks, or why.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What it answers: status and body; and what it was asked last.
#[derive(Debug)]
pub struct Source {
    pub url: String,
    pub asked: watch::Receiver<String>,
    address: SocketAddr,
    answer: watch::Sender<(u16, String)>,
    told: Told,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct Told {
    answer: watch::Receiver<(u16, String)>,
    asked: Arc<watch::Sender<String>>,
}

impl Source {
    pub async fn start(status: u16, body: &str) -> Self {
        let (answer, answers) = watch::channel((status, body.to_owned()));
        let (ask, asked) = watch::channel(String::new());
        let told = Told {
            answer: answers,
            asked: Arc::new(ask),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self {
            url: format!("http://{address}"),
            asked,
            address,
            answer,
            task: serve(listener, told.clone()),
            told,
        }
    }

    pub fn says(&self, status: u16, body: &str) {
        self.answer.send_replace((status, body.to_owned()));
    }

    /// Nobody answers there any more.
    pub fn kill(&mut self) {
        self.task.abort();
    }

    /// It answers again, where it was.
    pub async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.task = serve(listener, self.told.clone());
    }
}

fn serve(listener: TcpListener, told: Told) -> JoinHandle<()> {
    async fn say(State(told): State<Told>, body: String) -> impl IntoResponse {
        told.asked.send_replace(body);
        let (status, body) = told.answer.borrow().clone();
        (StatusCode::from_u16(status).unwrap(), body)
    }
    let routes = Router::new()
        .route("/api/v1/query", get(say))
        .route("/hook", post(say))
        .with_state(told);
    tokio::spawn(async move {
        axum::serve(listener, routes).await.unwrap();
    })
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a Prometheus answers that has one value.
pub fn value(value: &str) -> String {
    format!(
        r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{}},"value":[1,"{value}"]}}]}}}}"#
    )
}
