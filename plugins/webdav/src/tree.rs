//! A listing in the order of paths, folder by folder.

use holdfast_plugin::store::{Object, Page, StoreError, is_path};

use crate::server::Server;

/// Deepest folder that is entered: paths of the agent's have four segments.
const MAX_DEPTH: usize = 16;

/// One page of the objects whose path begins with `prefix`. `after` is the last path of the page before.
pub(crate) fn page(
    server: &Server,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
) -> Result<Page, StoreError> {
    let mut walk = Walk { server, prefix, after, limit: limit as usize, found: Vec::new() };
    let start = prefix.rfind('/').map_or("", |at| &prefix[..=at]);
    let is_there = is_folder(start) && walk.folder(start, 0)?;
    // A place that is not there is not one without objects.
    if !is_there && server.look("")?.is_none() {
        return Err(server.missing());
    }
    let mut objects = walk.found;
    let more = objects.len() > limit as usize;
    objects.truncate(limit as usize);
    let next = objects.last().filter(|_| more).map(|last| last.path.clone());
    Ok(Page { objects, next })
}

/// Whether objects may lie there: not where the plugin keeps its own.
fn is_folder(path: &str) -> bool {
    path.is_empty() || path.strip_suffix('/').is_some_and(is_path)
}

/// Enters only folders that hold some of the page, and stops when it is known whether there is more.
struct Walk<'a> {
    server: &'a Server,
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    found: Vec<Object>,
}

impl Walk<'_> {
    /// `folder` is empty or ends in a slash. False: it is not there.
    fn folder(&mut self, folder: &str, depth: usize) -> Result<bool, StoreError> {
        let Some(children) = self.server.children(folder)? else { return Ok(false) };
        // A folder stands where its first object would: `a-b` comes before `a/b`.
        let mut paths: Vec<_> = children
            .entries
            .into_iter()
            .map(|(name, entry)| {
                let slash = if entry.is_folder { "/" } else { "" };
                (format!("{folder}{name}{slash}"), entry)
            })
            .collect();
        paths.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        for (path, entry) in paths {
            if self.found.len() > self.limit {
                break;
            }
            if entry.is_folder {
                if depth < MAX_DEPTH && is_folder(&path) && self.enters(&path) {
                    // One that is gone by now was emptied by somebody else.
                    self.folder(&path, depth + 1)?;
                }
            } else if is_path(&path)
                && path.starts_with(self.prefix)
                && self.after.is_none_or(|after| path.as_str() > after)
            {
                self.found.push(entry.object(path));
            }
        }
        Ok(true)
    }

    /// Whether a folder may hold objects of this page.
    fn enters(&self, folder: &str) -> bool {
        let holds = folder.starts_with(self.prefix) || self.prefix.starts_with(folder);
        let is_behind = self.after.is_some_and(|after| folder < after && !after.starts_with(folder));
        holds && !is_behind
    }
}
