#![allow(warnings)]
use std::time::Instant;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let mut pics = vec![];
    let mut a = tar::Archive::new(std::fs::File::open(path).unwrap());
    for e in a.entries().unwrap() {
        let mut e = e.unwrap();
        if e.path().unwrap().extension().is_some_and(|x| x == "jpg") {
            let mut v = vec![];
            std::io::Read::read_to_end(&mut e, &mut v).unwrap();
            pics.push(v);
        }
    }
    pics.truncate(150);
    let t = |name: &str, f: &dyn Fn(&[u8]) -> usize| {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let s = Instant::now();
            let mut n = 0;
            for p in &pics { n += f(p); }
            std::hint::black_box(n);
            best = best.min(s.elapsed().as_secs_f64() / pics.len() as f64);
        }
        println!("{name}: {:.3} ms", best * 1e3);
    };
    t("image/zune", &|p| shoestring_data::picture::decode(p).unwrap().pixels.len());
    for den in [1u16, 2, 4, 8] {
        t(&format!("jpeg-decoder 1/{den}"), &|p| {
            let mut d = jpeg_decoder::Decoder::new(p);
            d.read_info().unwrap();
            let i = d.info().unwrap();
            d.scale(i.width.div_ceil(den), i.height.div_ceil(den)).unwrap();
            d.decode().unwrap().len()
        });
    }
}
