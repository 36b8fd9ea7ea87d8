//! What is the same for every subject, taken from the bench itself.

#[path = "../../../fleet/subject/check.rs"]
pub(crate) mod check;
#[path = "../../../fleet/subject/commands.rs"]
pub(crate) mod commands;
#[path = "../../../fleet/subject/histogram.rs"]
pub(crate) mod histogram;
#[path = "../../../fleet/subject/job.rs"]
pub(crate) mod job;
#[path = "../../../fleet/subject/publishers.rs"]
pub(crate) mod publishers;
