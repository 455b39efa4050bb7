//! Owns the questions about each resource that wait for a stream's task: it alone knows, and it is only
//! asked when somebody wants to know. Must not know: who asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bellwether::session::ResourceStatus;
use tokio::sync::{Notify, oneshot};

/// Questions that wait for one stream. A stream answers all of them with one look, at once.
const QUESTIONS: usize = 1024;

type Answer = Arc<[ResourceStatus]>;

#[derive(Debug, Default)]
struct Waiting {
    questions: Vec<oneshot::Sender<Answer>>,
    /// Nobody will look again.
    is_closed: bool,
}

/// Where questions lie until the stream's task looks.
#[derive(Debug, Default)]
pub(super) struct Desk {
    // Held to put a question down or to take all up, nothing else.
    waiting: Mutex<Waiting>,
    bell: Notify,
}

impl Desk {
    /// `None`: the stream has ended, or far too many ask.
    pub(super) async fn ask(self: &Arc<Self>) -> Option<Answer> {
        let (question, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting();
            if waiting.is_closed || waiting.questions.len() >= QUESTIONS {
                return None;
            }
            waiting.questions.push(question);
        }
        self.bell.notify_one();
        answer.await.ok()
    }

    /// Until somebody asks.
    pub(super) async fn asked(&self) {
        self.bell.notified().await;
    }

    /// Answers everybody.
    pub(super) fn answer(&self, resources: impl Iterator<Item = ResourceStatus>) {
        let questions = std::mem::take(&mut self.waiting().questions);
        if questions.is_empty() {
            return;
        }
        let answer: Answer = resources.collect();
        for question in questions {
            // Whoever asked may have gone away.
            let _ = question.send(answer.clone());
        }
    }

    /// The stream has ended: nobody waits in vain.
    pub(super) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.is_closed = true;
        waiting.questions.clear();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_is_answered_also_when_the_stream_ends() {
        let desk = Arc::<Desk>::default();
        let ask = || {
            let desk = desk.clone();
            tokio::spawn(async move { desk.ask().await })
        };
        let (one, two) = (ask(), ask());
        while desk.waiting().questions.len() < 2 {
            tokio::task::yield_now().await;
        }
        desk.asked().await;
        desk.answer(std::iter::empty());
        assert!(one.await.unwrap().is_some() && two.await.unwrap().is_some());
        let late = ask();
        while desk.waiting().questions.is_empty() {
            tokio::task::yield_now().await;
        }
        desk.close();
        assert!(late.await.unwrap().is_none());
        assert!(ask().await.unwrap().is_none());
    }
}
