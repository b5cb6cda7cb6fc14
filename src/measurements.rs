//! What `/metrics` has: each measurement with its kind and what it means. `docs/operations.md` explains the same ones.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

use Kind::{Counter, Gauge, Histogram};

/// The kind of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// A distribution.
    Histogram,
}

/// Every measurement: kind, name, help.
pub const MEASUREMENTS: &[(Kind, &str, &str)] = &[
    (Counter, "be8_http_requests_total", "Requests by method, route and status."),
    (Histogram, "be8_http_request_seconds", "Time that requests took; for event streams, until they were open."),
    (Gauge, "be8_body_bytes", "Memory that request bodies have claimed."),
    (Gauge, "be8_answer_bytes", "Memory that answers have claimed until their clients have taken them."),
    (Gauge, "be8_connections", "Open connections of clients."),
    (
        Counter,
        "be8_connections_refused_total",
        "Connections that were closed at once, by the limit that they exceeded.",
    ),
    (Gauge, "be8_ledger_queue", "Commands that waited when the newest one came."),
    (Histogram, "be8_ledger_batch_commands", "Commands in one append."),
    (Histogram, "be8_ledger_commit_seconds", "Time from the first decision of a batch to its commit."),
    (Histogram, "be8_ledger_append_seconds", "Time of the append statement."),
    (Counter, "be8_ledger_events_total", "Events that this node appended."),
    (Counter, "be8_ledger_lost_rounds_total", "Rounds that were decided again because another node appended first."),
    (Gauge, "be8_ledger_clock_behind_seconds", "How much earlier the node's clock is than the newest event."),
    (Gauge, "be8_clock_untrusted_seconds", "How far the node's clock is ahead of the trusted time."),
    (Gauge, "be8_vault_rotation_overdue_seconds", "By how much a change of the vault's rotating key is overdue."),
    (Gauge, "be8_image_uploads", "Image uploads that are being received."),
    (Gauge, "be8_image_uploads_waiting", "Image uploads that wait for their turn."),
    (Counter, "be8_images_swept_total", "Contents of images that were removed."),
    (Counter, "be8_images_not_swept_total", "Failed attempts to remove the content of an image."),
    (Gauge, "be8_image_store_failing", "1 while the newest request to the store of images failed."),
    (Counter, "be8_image_store_errors_total", "Requests to the store of images that failed."),
    (Counter, "be8_image_walks_total", "Completed walks through the store of images."),
    (Counter, "be8_accounts_removed_total", "Accounts that this node removed."),
    (Counter, "be8_limited_total", "Requests that were refused by a rate limit, by limit."),
    (Gauge, "be8_limit_keys", "Addresses or accounts that a rate limit keeps, by limit."),
    (Counter, "be8_signups_refused_total", "New accounts that were refused, by reason."),
    (Counter, "be8_idempotency_swept_total", "Expired answers under idempotency keys that were deleted."),
    (Gauge, "be8_log_position", "The newest position of the log that this node knows."),
    (Gauge, "be8_feed_position", "The position up to which event streams have received changes."),
    (Gauge, "be8_feed_streams", "Open event streams."),
    (Counter, "be8_feed_slow_readers_total", "Event streams that were ended because their reader was too slow."),
    (Counter, "be8_view_hits_total", "Entries that reads found in memory, by kind."),
    (Counter, "be8_view_misses_total", "Entries that were loaded for reads, by kind."),
    (Counter, "be8_view_unserved_total", "Reads that PostgreSQL answered since the views could not."),
    (Counter, "be8_view_evicted_total", "Entries that were thrown out to stay within the memory for views."),
    (Gauge, "be8_view_memory_bytes", "Memory that entries of views take."),
    (Gauge, "be8_view_entries", "Entries of views."),
    (Gauge, "be8_view_position", "The position up to which views have followed the log."),
    (Histogram, "be8_view_wait_seconds", "Time that reads waited for the views to have the position of the log."),
    (Histogram, "be8_view_reads_per_question", "Reads that shared one question for the position of the log."),
    (Gauge, "be8_audit_log_entries", "Entries of the transparency log."),
    (Gauge, "be8_audit_log_signed", "Entries that the newest checkpoint covers."),
    (Counter, "be8_audit_witness_answers_total", "Answers of witnesses to our checkpoints, by outcome."),
    (Counter, "be8_audit_witnessed_total", "Answers of this witness to checkpoints of others, by outcome."),
    (Counter, "be8_push_total", "Pushes by outcome."),
    (Gauge, "be8_push_key_refused", "1 while a push service refuses every push, by service."),
    (Counter, "be8_push_subscriptions_total", "Subscriptions, by whether pushes may be sent to their host."),
    (Gauge, "be8_push_waiting", "Pushes that wait."),
    (Gauge, "be8_push_under_way", "Pushes that were sent and have no answer yet."),
    (Histogram, "be8_push_seconds", "Time that sending a push took."),
];

/// Gives the recorder the help of every measurement, which `/metrics` prints as `# HELP`.
pub fn describe() {
    for &(kind, name, help) in MEASUREMENTS {
        let unit = if name.ends_with("_seconds") {
            Unit::Seconds
        } else if name.ends_with("_bytes") {
            Unit::Bytes
        } else {
            Unit::Count
        };
        match kind {
            Counter => describe_counter!(name, unit, help),
            Gauge => describe_gauge!(name, unit, help),
            Histogram => describe_histogram!(name, unit, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        for (kind, name, help) in MEASUREMENTS {
            assert_eq!(*kind == Counter, name.ends_with("_total"), "{name}");
            assert!(help.ends_with('.'), "{name}");
            assert_eq!(MEASUREMENTS.iter().filter(|(_, other, _)| other == name).count(), 1, "{name}");
        }
    }
}
