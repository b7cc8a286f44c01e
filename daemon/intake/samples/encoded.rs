//! Tiles that are stored as PNG or JPEG.

use std::io::Cursor;

use forecastd_models::dasha::{ElementType, InputShape, PixelLayout};
use image::{ColorType, DynamicImage, ImageDecoder, ImageReader, Limits};

use super::pixels::{told, write_bands};

/// Bytes that a decoder may ask for.
const MAX_ALLOCATION: u64 = 256 << 20;

/// The longest side.
const MAX_SIDE: u32 = 16_384;

/// Images of one shape: as asked for, or the first one's.
#[derive(Clone, Debug, Default)]
pub(super) struct EncodedImages {
    pub(super) asked: Option<InputShape>,
    pub(super) found: Option<(InputShape, ElementType)>,
}

/// Whether these bytes begin as PNG or JPEG do.
pub(super) fn is_encoded(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(&[0xff, 0xd8, 0xff])
}

impl EncodedImages {
    /// Decodes one image and writes it band after band.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        if !is_encoded(bytes) {
            return Err("neither PNG nor JPEG, as the first row is".to_owned());
        }
        let (size, color, image) = decode(bytes, |size| self.check_size(size))?;
        let bands = self.asked.as_ref().map_or(bands_of(color), |asked| asked.bands);
        let deep = color.bytes_per_pixel() / color.channel_count() > 1;
        let element = if deep { ElementType::U16 } else { ElementType::U8 };
        let shape = InputShape { bands, size };
        match &self.found {
            None => self.found = Some((shape, element.clone())),
            Some((first, of_first)) if *first != shape || *of_first != element => {
                let (shape, first) = (told(&shape), told(first));
                return Err(format!(
                    "an image of shape {shape} and {} bits, where those before are of {first} and {}",
                    8 * element.bytes(),
                    8 * of_first.bytes()
                ));
            }
            Some(_) => {}
        }
        write_bands(
            &samples(image, bands, deep)?,
            bands as usize,
            element.bytes(),
            PixelLayout::Hwc,
            out,
        );
        Ok(())
    }

    fn check_size(&self, size: &[u32]) -> Result<(), String> {
        let expected = self.asked.as_ref().or(self.found.as_ref().map(|(shape, _)| shape));
        match expected {
            Some(expected) if expected.size != size => Err(format!(
                "an image of {}x{} pixels, where {}x{} is expected (height x width)",
                size[0], size[1], expected.size[0], expected.size[1]
            )),
            _ => Ok(()),
        }
    }
}

/// Height and width, what a pixel is, and the pixels; `check` sees the size before anything is decoded.
fn decode(
    bytes: &[u8],
    check: impl FnOnce(&[u32]) -> Result<(), String>,
) -> Result<(Vec<u32>, ColorType, DynamicImage), String> {
    let corrupt = |error: &dyn std::fmt::Display| format!("an image that cannot be decoded: {error}");
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| corrupt(&error))?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOCATION);
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|error| corrupt(&error))?;
    let (width, height) = decoder.dimensions();
    let color = decoder.color_type();
    let size = vec![height, width];
    check(&size)?;
    let image = DynamicImage::from_decoder(decoder).map_err(|error| corrupt(&error))?;
    Ok((size, color, image))
}

/// Bands of a pixel; how much a grey one shines through is no band.
fn bands_of(color: ColorType) -> u32 {
    if color.has_color() {
        color.channel_count().into()
    } else {
        1
    }
}

/// The numbers of all pixels, all bands of each together, little-endian.
fn samples(image: DynamicImage, bands: u32, deep: bool) -> Result<Vec<u8>, String> {
    let wide = |values: Vec<u16>| values.into_iter().flat_map(u16::to_le_bytes).collect();
    Ok(match (bands, deep) {
        (1, false) => image.into_luma8().into_raw(),
        (3, false) => image.into_rgb8().into_raw(),
        (4, false) => image.into_rgba8().into_raw(),
        (1, true) => wide(image.into_luma16().into_raw()),
        (3, true) => wide(image.into_rgb16().into_raw()),
        (4, true) => wide(image.into_rgba16().into_raw()),
        _ => return Err(format!("an image has 1, 3 or 4 bands; --shape asks for {bands}")),
    })
}

/// A mask that is stored as an image of greys: one byte a pixel, with its height and width.
pub(super) fn mask(bytes: &[u8], size: &[u32]) -> Result<Vec<u8>, String> {
    let check = |found: &[u32]| match found == size {
        true => Ok(()),
        false => Err(format!(
            "a mask of size {found:?} for a tile of {size:?} (height, width)"
        )),
    };
    let (_, color, image) = decode(bytes, check)?;
    if color != ColorType::L8 {
        return Err(format!("a mask of {color:?} pixels; 8-bit grey is taken"));
    }
    Ok(image.into_luma8().into_raw())
}

#[cfg(test)]
pub(super) mod tests {
    use image::{GrayImage, ImageFormat, RgbImage};

    use super::*;

    pub(in super::super) fn png(width: u32, height: u32, value: u8) -> Vec<u8> {
        let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([value, x as u8, y as u8]));
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(image)
            .write_to(&mut bytes, ImageFormat::Png)
            .expect("written to memory");
        bytes.into_inner()
    }

    pub(in super::super) fn grey_png(width: u32, height: u32, value: u8) -> Vec<u8> {
        let image = GrayImage::from_pixel(width, height, image::Luma([value]));
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(image)
            .write_to(&mut bytes, ImageFormat::Png)
            .expect("written to memory");
        bytes.into_inner()
    }

    #[test]
    fn an_image_is_written_band_after_band() {
        let mut images = EncodedImages::default();
        let mut out = Vec::new();
        images.write(&png(3, 2, 9), &mut out).expect("a sound image");
        assert_eq!(out, [9, 9, 9, 9, 9, 9, 0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 1]);
        let (shape, element) = images.found.clone().expect("found");
        assert_eq!((told(&shape).as_str(), element), ("3,2,3", ElementType::U8));
        let other = images.write(&png(2, 3, 9), &mut out).expect_err("another size");
        assert!(other.contains("3x2 pixels, where 2x3"), "{other}");
    }

    #[test]
    fn corrupt_bytes_are_told() {
        let mut bytes = png(8, 8, 1);
        bytes.truncate(bytes.len() - 30);
        for bytes in [bytes, b"\x89PNG\r\n\x1a\n".to_vec(), vec![0xff, 0xd8, 0xff, 0xe0, 0, 0]] {
            let told = EncodedImages::default()
                .write(&bytes, &mut Vec::new())
                .expect_err("corrupt");
            assert!(told.starts_with("an image that cannot be decoded"), "{told}");
        }
        let told = EncodedImages::default()
            .write(b"GIF89a", &mut Vec::new())
            .expect_err("no PNG");
        assert!(told.contains("neither PNG nor JPEG"), "{told}");
    }
}
