//! Tiles that are stored as raw pixels.

use forecastd_models::dasha::{ElementType, InputShape, PixelLayout};
use serde::{Deserialize, Serialize};

/// What raw pixels are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelType {
    /// A byte.
    U8,
    /// Two bytes, no sign, little-endian.
    U16,
    /// Two bytes, signed, little-endian.
    I16,
    /// Single precision, little-endian.
    F32,
}

impl PixelType {
    const ALL: [Self; 4] = [Self::U8, Self::U16, Self::I16, Self::F32];

    pub(super) fn element(self) -> ElementType {
        match self {
            Self::U8 => ElementType::U8,
            Self::U16 => ElementType::U16,
            Self::I16 => ElementType::I16,
            Self::F32 => ElementType::F32,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::F32 => "f32",
        }
    }
}

/// Raw pixels of one shape.
#[derive(Clone, Debug)]
pub(super) struct RawPixels {
    pub(super) shape: InputShape,
    pub(super) pixel: PixelType,
    pub(super) layout: PixelLayout,
}

impl RawPixels {
    /// Writes one tile, band after band.
    pub(super) fn write(&self, tile: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let elements = self.shape.bands as usize * self.shape.positions() as usize;
        let size = self.pixel.element().bytes();
        if tile.len() != elements * size {
            return Err(self.wrong_length(tile.len(), elements));
        }
        if self.pixel == PixelType::F32 {
            let mut values = tile.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            if let Some(place) = values.position(|value| !value.is_finite()) {
                return Err(format!("value {place} is not finite"));
            }
        }
        write_bands(tile, self.shape.bands as usize, size, self.layout, out);
        Ok(())
    }

    fn wrong_length(&self, found: usize, elements: usize) -> String {
        let (pixel, shape) = (self.pixel, told(&self.shape));
        let needed = elements * pixel.element().bytes();
        let other = PixelType::ALL
            .into_iter()
            .find(|other| elements * other.element().bytes() == found);
        let hint = other
            .map(|other| format!("; --dtype {} would", other.name()))
            .unwrap_or_default();
        format!(
            "{found} bytes do not fit shape {shape} of {}, which takes {needed}{hint}",
            pixel.name()
        )
    }
}

/// Elements of `size` bytes each, band after band.
pub(super) fn write_bands(tile: &[u8], bands: usize, size: usize, layout: PixelLayout, out: &mut Vec<u8>) {
    if layout == PixelLayout::Chw || bands == 1 {
        out.extend_from_slice(tile);
        return;
    }
    for band in 0..bands {
        let pixels = tile.chunks_exact(bands * size);
        out.extend(pixels.flat_map(|pixel| &pixel[band * size..(band + 1) * size]));
    }
}

/// A shape as `--shape` takes it.
pub(super) fn told(shape: &InputShape) -> String {
    let sizes = std::iter::once(&shape.bands).chain(&shape.size);
    let sizes: Vec<String> = sizes.map(u32::to_string).collect();
    sizes.join(",")
}

/// A shape of square tiles of bytes that takes so many, for a hint.
pub(super) fn likely_shape(bytes: usize) -> Option<String> {
    [3_usize, 1, 4].into_iter().find_map(|bands| {
        let side = (bytes / bands).isqrt();
        (side > 1 && bands * side * side == bytes).then(|| format!("{bands},{side},{side}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(pixel: PixelType, layout: PixelLayout) -> RawPixels {
        let shape = InputShape {
            bands: 2,
            size: vec![1, 3],
        };
        RawPixels { shape, pixel, layout }
    }

    #[test]
    fn bands_are_taken_apart() {
        let mut out = Vec::new();
        raw(PixelType::U8, PixelLayout::Hwc)
            .write(&[1, 10, 2, 20, 3, 30], &mut out)
            .expect("it fits");
        assert_eq!(out, [1, 2, 3, 10, 20, 30]);
        out.clear();
        let wide = [1, 0, 10, 0, 2, 0, 20, 0, 3, 0, 30, 0];
        raw(PixelType::U16, PixelLayout::Hwc)
            .write(&wide, &mut out)
            .expect("it fits");
        assert_eq!(out, [1, 0, 2, 0, 3, 0, 10, 0, 20, 0, 30, 0]);
        out.clear();
        raw(PixelType::U8, PixelLayout::Chw)
            .write(&[1, 2, 3, 10, 20, 30], &mut out)
            .expect("it fits");
        assert_eq!(out, [1, 2, 3, 10, 20, 30]);
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_would() {
        let told = raw(PixelType::U8, PixelLayout::Hwc)
            .write(&[0; 24], &mut Vec::new())
            .expect_err("too long");
        assert_eq!(
            told,
            "24 bytes do not fit shape 2,1,3 of u8, which takes 6; --dtype f32 would"
        );
        let told = raw(PixelType::U8, PixelLayout::Hwc)
            .write(&[0; 5], &mut Vec::new())
            .expect_err("too short");
        assert!(told.ends_with("which takes 6"), "{told}");
        let mut tile = vec![0; 24];
        tile[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
        let told = raw(PixelType::F32, PixelLayout::Chw)
            .write(&tile, &mut Vec::new())
            .expect_err("a NaN");
        assert_eq!(told, "value 2 is not finite");
        assert_eq!(likely_shape(12_288).as_deref(), Some("3,64,64"));
        assert_eq!(likely_shape(36).as_deref(), Some("1,6,6"));
        assert_eq!(likely_shape(7), None);
    }
}
