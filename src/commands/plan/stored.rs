//! How the user's own pictures are stored, from a few of them.

use std::path::PathBuf;

use shoestring_data::picture::decode;
use shoestring_data::webdataset::{ShardIndex, expand};
use shoestring_planner::calibration::{PictureFormat, StoredPictures};
use shoestring_planner::recipe::DataSource;

/// Pictures that are looked at.
const LOOKED_AT: usize = 16;

/// Format and size of the first pictures of the first shard; `None` where there are no shards or nothing in them can be
/// read, which `run` will say better.
pub(super) fn stored_pictures(source: &DataSource) -> Option<StoredPictures> {
    let DataSource::Webdataset { shards } = source else { return None };
    let first = expand(shards.first()?).ok()?.into_iter().next()?;
    let index = ShardIndex::open_files(&[PathBuf::from(first)]).ok()?;
    let (mut pixels, mut count, mut png) = (0.0, 0.0, 0.0);
    for sample in index.samples().iter().take(LOOKED_AT) {
        let Some(bytes) = sample.image.and_then(|member| index.read(sample.shard, member).ok()) else {
            continue;
        };
        let Ok(picture) = decode(&bytes) else { continue };
        pixels += f64::from(picture.width) * f64::from(picture.height);
        png += f64::from(u8::from(bytes.starts_with(b"\x89PNG")));
        count += 1.0;
    }
    // WebP is read about as fast as JPEG.
    let format = if 2.0 * png > count { PictureFormat::Png } else { PictureFormat::Jpeg };
    (count > 0.0).then(|| StoredPictures { format, side_px: (pixels / count).sqrt().round() as u32 })
}
