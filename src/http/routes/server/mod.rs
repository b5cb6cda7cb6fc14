//! The server itself: its state, its counters, and what its operator does.

pub mod accounts;
pub mod insights;
pub mod operations;
pub mod registration;

super::list::routes! {
    accounts::OperatorAccounts,
    insights::Insights,
    operations::Operations,
    registration::Registration,
}
