//! A leaf or branch page as a row of elements that can be changed, and its bytes again.
//!
//! The layout is told at `bolt`'s pages; here keys and values are put one after the other behind the elements, as bbolt
//! does. Source: bbolt `node.go` (`write`), `internal/common/inode.go`.

use std::borrow::Cow;

use super::EditError;
use crate::bolt::{BranchItem, ELEMENT_BYTES, LeafItem, PAGE_HEADER_BYTES, Page, PageId, PageKind};
use crate::error::ReadError;

/// 0xFFFF means something else in the count of a freelist, and bbolt refuses it in all pages.
const MAX_COUNT: usize = 0xFFFE;

/// An item of a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) flags: u32,
    pub(super) key: Cow<'a, [u8]>,
    pub(super) value: Cow<'a, [u8]>,
}

/// A child of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Child<'a> {
    pub(super) key: Cow<'a, [u8]>,
    pub(super) page: PageId,
}

/// A page's elements, ascending by key. A branch has at least one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node<'a> {
    Leaf(Vec<Item<'a>>),
    Branch(Vec<Child<'a>>),
}

impl Child<'_> {
    /// Bytes of the element and the key.
    pub(super) fn size_bytes(&self) -> usize {
        ELEMENT_BYTES + self.key.len()
    }
}

impl<'a> From<LeafItem<'a>> for Item<'a> {
    fn from(item: LeafItem<'a>) -> Self {
        Self { flags: item.flags, key: Cow::Borrowed(item.key), value: Cow::Borrowed(item.value) }
    }
}

impl<'a> From<BranchItem<'a>> for Child<'a> {
    fn from(item: BranchItem<'a>) -> Self {
        Self { key: Cow::Borrowed(item.key), page: item.child }
    }
}

impl Item<'_> {
    pub(super) fn owned(flags: u32, key: Vec<u8>, value: Vec<u8>) -> Self {
        Self { flags, key: Cow::Owned(key), value: Cow::Owned(value) }
    }

    /// Bytes of the element, the key and the value.
    pub(super) fn size_bytes(&self) -> usize {
        ELEMENT_BYTES + self.key.len() + self.value.len()
    }
}

impl<'a> Node<'a> {
    /// The elements of a page.
    pub(super) fn of(page: &Page<'a>) -> Result<Self, ReadError> {
        let indices = 0..page.count();
        if page.kind() == PageKind::Branch {
            let children =
                indices.map(|index| page.branch_item(index).map(Child::from)).collect::<Result<_, _>>()?;
            let node = Self::Branch(children);
            return node.checked(page.id());
        }
        let page = page.expect(PageKind::Leaf)?;
        let items = indices.map(|index| page.leaf_item(index).map(Item::from)).collect::<Result<_, _>>()?;
        Self::Leaf(items).checked(page.id())
    }

    /// An element that is in the wrong place would be searched for in vain, so nothing is put beside it.
    fn checked(self, page: PageId) -> Result<Self, ReadError> {
        let keys: Vec<&[u8]> = match &self {
            Self::Leaf(items) => items.iter().map(|item| &*item.key).collect(),
            Self::Branch(children) if children.is_empty() => return Err(ReadError::PageEmpty { page }),
            Self::Branch(children) => children.iter().map(|child| &*child.key).collect(),
        };
        let unordered = keys.windows(2).position(|pair| pair[0] >= pair[1]);
        match unordered {
            // A page's count has 16 bits.
            Some(index) => Err(ReadError::KeysUnordered { page, index: index as u16 + 1 }),
            None => Ok(self),
        }
    }

    /// Bytes of header, elements, keys and values.
    pub(super) fn size_bytes(&self) -> usize {
        let content: usize = match self {
            Self::Leaf(items) => items.iter().map(Item::size_bytes).sum(),
            Self::Branch(children) => children.iter().map(Child::size_bytes).sum(),
        };
        PAGE_HEADER_BYTES + content
    }

    /// The page without the rest behind the last value.
    pub(super) fn encode(&self, id: PageId, overflow: u32) -> Result<Vec<u8>, EditError> {
        let mut out = Vec::with_capacity(self.size_bytes());
        self.encode_into(&mut out, id, overflow)?;
        Ok(out)
    }

    /// As [`Self::encode`], behind what is there.
    pub(super) fn encode_into(&self, out: &mut Vec<u8>, id: PageId, overflow: u32) -> Result<(), EditError> {
        let (kind, count) = match self {
            Self::Leaf(items) => (PageKind::Leaf, items.len()),
            Self::Branch(children) => (PageKind::Branch, children.len()),
        };
        // Every position and length is within the page's size, so this bounds them all.
        if count > MAX_COUNT || u32::try_from(self.size_bytes()).is_err() {
            return Err(EditError::TooLarge);
        }
        out.extend_from_slice(&id.0.to_le_bytes());
        out.extend_from_slice(&kind.flags().to_le_bytes());
        out.extend_from_slice(&(count as u16).to_le_bytes());
        out.extend_from_slice(&overflow.to_le_bytes());
        let mut position = count * ELEMENT_BYTES;
        match self {
            Self::Leaf(items) => {
                for Item { flags, key, value } in items {
                    for word in [*flags, position as u32, key.len() as u32, value.len() as u32] {
                        out.extend_from_slice(&word.to_le_bytes());
                    }
                    position = position + key.len() + value.len() - ELEMENT_BYTES;
                }
                for Item { key, value, .. } in items {
                    out.extend_from_slice(key);
                    out.extend_from_slice(value);
                }
            }
            Self::Branch(children) => {
                for Child { key, page } in children {
                    for word in [position as u32, key.len() as u32] {
                        out.extend_from_slice(&word.to_le_bytes());
                    }
                    out.extend_from_slice(&page.0.to_le_bytes());
                    position = position + key.len() - ELEMENT_BYTES;
                }
                for Child { key, .. } in children {
                    out.extend_from_slice(key);
                }
            }
        }
        Ok(())
    }
}
