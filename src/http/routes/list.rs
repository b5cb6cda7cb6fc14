//! How a folder lists its routes.

/// The routes of a folder, one file each: its type of routes, and beside it the table `OPERATIONS` of what they declare.
macro_rules! routes {
    ($($file:ident::$routes:ident,)*) => {
        /// The routes of this folder.
        pub(in crate::http) fn routes(app: &$crate::app::Handle) -> impl poem_openapi::OpenApi {
            ($($file::$routes(app.clone()),)*)
        }

        /// What its operations declare.
        pub(in crate::http) const OPERATIONS: &[&[$crate::http::document::operation::Operation]] =
            &[$($file::OPERATIONS),*];
    };
}

pub(in crate::http) use routes;
