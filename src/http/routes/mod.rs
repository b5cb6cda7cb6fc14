//! The operations.

pub mod account;
pub mod audit;
pub mod conversation;
pub mod group;
mod list;
pub mod presenters;
pub mod server;

use poem_openapi::OpenApi;

use super::document::operation::Operation;
use crate::app::Handle;

/// All routes.
pub(in crate::http) fn routes(app: &Handle) -> impl OpenApi {
    (account::routes(app), audit::routes(app), conversation::routes(app), group::routes(app), server::routes(app))
}

/// The declarations of all operations.
pub(in crate::http) fn operations() -> impl Iterator<Item = &'static Operation> {
    let folders =
        [account::OPERATIONS, audit::OPERATIONS, conversation::OPERATIONS, group::OPERATIONS, server::OPERATIONS];
    folders.into_iter().flatten().copied().flatten()
}

/// The declaration of the operation with this id.
pub(in crate::http) fn declared(id: &str) -> Option<&'static Operation> {
    operations().find(|operation| operation.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use poem_openapi::OpenApiService;
    use serde_json::Value;

    use super::*;

    #[test]
    fn each_operation_has_one_declaration_and_each_path_one_style() {
        let handle = Handle::default();
        let service = OpenApiService::new(routes(&handle), "", "");
        let document: Value = serde_json::from_str(&service.spec()).unwrap();
        let mut left: BTreeMap<&str, usize> = BTreeMap::new();
        operations().for_each(|operation| *left.entry(operation.id).or_default() += 1);
        for (path, all) in document["paths"].as_object().unwrap() {
            let mut styles = Vec::new();
            for operation in all.as_object().unwrap().values() {
                let id = operation["operationId"].as_str().unwrap();
                assert_eq!(left.remove(id), Some(1), "{id}");
                let declared = declared(id).unwrap();
                styles.push((declared.errors, declared.limit));
            }
            assert!(styles.windows(2).all(|pair| pair[0] == pair[1]), "{path}: {styles:?}");
        }
        assert!(left.is_empty(), "declared, but no operation: {left:?}");
    }
}
