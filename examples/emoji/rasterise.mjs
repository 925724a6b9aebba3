// Draws SVG pictures as PNG. prepare.py starts it and talks to it over pipes.
//
//   node rasterise.mjs PACKAGE_FOLDER SIDE < pictures.jsonl > pictures.bin
//
// One JSON string (an SVG document) a line comes in; for each one a 4-byte big-endian length and that many bytes
// of PNG go out, SIDE x SIDE pixels, transparent where nothing is drawn. A picture that cannot be drawn ends the
// program with a message. PACKAGE_FOLDER is the unpacked package @resvg/resvg-wasm: one WebAssembly module, which
// computes the same bytes on every machine.

import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder, side] = [process.argv[2], Number(process.argv[3])];
const { initWasm, Resvg } = await import(pathToFileURL(join(folder, 'index.mjs')).href);
await initWasm(readFileSync(join(folder, 'index_bg.wasm')));

/** Writes all bytes, however few the pipe takes at a time. */
function writeAll(bytes) {
  for (let start = 0; start < bytes.length; ) {
    try {
      start += writeSync(1, bytes, start);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

let count = 0;
for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  try {
    const picture = new Resvg(JSON.parse(line), {
      fitTo: { mode: 'width', value: side },
      font: { loadSystemFonts: false },
    });
    const drawn = picture.render();
    const png = Buffer.from(drawn.asPng());
    drawn.free();
    picture.free();
    const length = Buffer.alloc(4);
    length.writeUInt32BE(png.length);
    writeAll(Buffer.concat([length, png]));
  } catch (error) {
    console.error(`picture ${count}: ${error}`);
    process.exit(1);
  }
  count += 1;
}
