//! Owns the tests of the stores: one contract for all of them, and what each must bear besides.
//! Must not know: what is kept in a store.

mod contract;
mod embedded;
mod etcd;
mod mirror;
mod subject;

pub(crate) use self::subject::{Subject, apply, etcd_store};

/// Runs every promise against both stores, each on a store of its own.
macro_rules! keeps {
    ($($promise:ident)*) => {
        mod embedded_keeps {
            $(#[tokio::test]
            async fn $promise() {
                super::contract::$promise(super::Subject::embedded().await).await;
            })*
        }
        mod etcd_keeps {
            $(#[tokio::test]
            async fn $promise() {
                super::contract::$promise(super::Subject::etcd().await).await;
            })*
        }
    };
}

keeps! {
    a_reading_is_of_one_revision
    a_reading_has_everything_under_its_prefix
    a_watch_has_every_change_once_and_in_order
    a_watch_has_all_changes_of_a_transaction_together
    a_watch_has_a_large_revision_in_one_piece
    a_watch_can_begin_in_the_past_and_in_the_future
    a_slow_watch_holds_up_nobody_and_misses_nothing
    a_watch_of_forgotten_history_says_so
    a_swap_is_made_only_if_nobody_was_faster
    one_of_many_racers_wins
    what_changes_nothing_makes_no_revision
    what_can_not_be_stored_is_refused
    a_lease_takes_its_keys_along_when_it_ends
    a_lease_lives_as_long_as_it_is_kept_alive
    a_key_written_without_its_lease_stays
    what_was_confirmed_is_there_after_a_kill
}
