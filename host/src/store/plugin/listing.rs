//! Pages of a listing, as a plugin turns them.
//!
//! Its word is taken for nothing: paths must be paths, begin with the prefix and ascend, over all pages; an empty page or one that
//! was seen before cannot go on for ever. What has to be remembered for that from page to page goes with what the caller hands back.

use super::errors::Failed;
use super::{PluginStore, info};
use crate::store::{ObjectPath, Page};

/// Objects of one page.
const PAGE_OBJECTS: u32 = 1000;
/// Objects of a whole listing: three of them a backup, one backup an hour, for more than thirty years.
const MAX_OBJECTS: u64 = 1_000_000;
/// Pages in a row without an object.
const MAX_EMPTY: u32 = 100;

/// Where a listing has got to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Place {
    objects: u64,
    empty: u32,
    /// The last path that was listed; empty before the first.
    last: String,
    /// What the plugin handed on.
    own: Option<String>,
}

impl Place {
    /// `objects empty last own`: paths have no spaces, and the plugin's own text may be anything.
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let objects = parts.next()?.parse().ok()?;
        let empty = parts.next()?.parse().ok()?;
        let last = parts.next()?.to_owned();
        Some(Self { objects, empty, last, own: Some(parts.next()?.to_owned()) })
    }

    fn text(&self) -> Option<String> {
        let own = self.own.as_ref()?;
        Some(format!("{} {} {} {own}", self.objects, self.empty, self.last))
    }
}

/// One page.
pub(super) async fn page(store: &PluginStore, prefix: &str, after: Option<&str>) -> Result<Page, Failed> {
    let mut place = match after {
        None => Place::default(),
        // Only this hands it out.
        Some(text) => Place::parse(text).ok_or_else(|| Failed::lie("the listing goes on from nowhere"))?,
    };
    let own = place.own.clone();
    let told = store
        .ask(|plugin, how| {
            let own = own.clone();
            async move { plugin.list(&how, prefix, own.as_deref(), PAGE_OBJECTS).await }
        })
        .await?;
    if told.next.is_some() && told.next == own {
        return Err(Failed::lie("the plugin turns the same page again"));
    }
    place.own = told.next;
    place.objects += told.objects.len() as u64;
    place.empty = if told.objects.is_empty() { place.empty + 1 } else { 0 };
    if place.empty > MAX_EMPTY {
        return Err(Failed::lie(format!("the plugin lists more than {MAX_EMPTY} empty pages in a row")));
    }
    if place.objects > MAX_OBJECTS {
        return Err(Failed::lie(format!("the plugin lists more than {MAX_OBJECTS} objects")));
    }
    let mut objects = Vec::with_capacity(told.objects.len());
    for object in told.objects {
        let Ok(path) = ObjectPath::new(object.path.clone()) else {
            return Err(Failed::lie(format!(
                "the plugin lists `{}`, which no object is called",
                object.path
            )));
        };
        if !object.path.starts_with(prefix) {
            return Err(Failed::lie(format!(
                "the plugin lists `{path}`, and was asked for what begins with `{prefix}`"
            )));
        }
        if object.path <= place.last {
            return Err(Failed::lie(format!("the plugin lists `{path}` after `{}`", place.last)));
        }
        place.last.clone_from(&object.path);
        objects.push(info(object, path));
    }
    Ok(Page { objects, next: place.text() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_with_whatever_the_plugin_handed_on() {
        for own in ["", "a b  c", "\n5 5 5"] {
            let place = Place { objects: 7, empty: 2, last: "a/b".to_owned(), own: Some(own.to_owned()) };
            assert_eq!(Place::parse(&place.text().unwrap()), Some(place));
        }
        let before = Place { own: Some("x".to_owned()), ..Place::default() };
        assert_eq!(Place::parse(&before.text().unwrap()), Some(before));
        assert_eq!(Place::default().text(), None, "the last page hands on nothing");
        for wrong in ["", "x", "1 2", "1 2 a", "-1 0 a b"] {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
    }
}
