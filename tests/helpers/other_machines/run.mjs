// Runs a LiteRT file in LiteRT.js, which is XNNPACK in WebAssembly, under node: what browsers do with it.
//
//     node --experimental-wasm-relaxed-simd run.mjs PACKAGE ROUNDS INPUT OUTPUT SHAPE FILE [FILE ...]
//
// PACKAGE is the folder of @litertjs/core. INPUT holds the numbers of one input of a SHAPE such as 1,224,224,3, in
// float32; to OUTPUT go those of the first output of the last FILE. Prints, as JSON, of each FILE the processor
// milliseconds of each of ROUNDS runs, the files in turn.
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import vm from "node:vm";

const [folder, rounds, inputPath, outputPath, shapeText, ...files] = process.argv.slice(2);
const wasm = path.join(path.resolve(folder), "wasm") + "/";
const shape = shapeText.split(",").map(Number);
const bytes = fs.readFileSync(inputPath);
const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);

// The package is made for a worker of a browser: it imports its program as a script, and fetches its module.
globalThis.self = globalThis;
globalThis.WorkerGlobalScope = function () {};
globalThis.location = { href: "file://" + wasm };
globalThis.importScripts = (url) => {
  const text = fs.readFileSync(url.replace("file://", ""), "utf8");
  vm.runInThisContext(text + "\n;globalThis.ModuleFactory = ModuleFactory;", { filename: url });
};
globalThis.fetch = async (url) => {
  const text = url.toString();
  const type = text.endsWith("wasm") ? "application/wasm" : "application/octet-stream";
  return new Response(fs.readFileSync(text.replace("file://", "")), { headers: { "Content-Type": type } });
};
globalThis.Module = { wasmBinary: fs.readFileSync(wasm + "litert_wasm_internal.wasm") };
globalThis.process = { ...process, versions: undefined, type: "renderer" };

const { loadLiteRt, loadAndCompile, Tensor } = await import(path.join(wasm, "../dist/index.js"));
await loadLiteRt(wasm);

async function run(model) {
  const input = new Tensor(numbers, shape);
  const start = process.cpuUsage();
  const outputs = await model.run(input);
  const { user, system } = process.cpuUsage(start);
  const first = Array.isArray(outputs) ? outputs[0] : Object.values(outputs)[0];
  const values = await first.data();
  input.delete();
  return { milliseconds: (user + system) / 1000, values };
}

const models = [];
for (const file of files) models.push(await loadAndCompile(file, { accelerator: "wasm" }));
const times = files.map(() => []);
for (let round = -1; round < Number(rounds); round++) {
  for (const [index, model] of models.entries()) {
    const { milliseconds, values } = await run(model);
    if (round >= 0) times[index].push(milliseconds);
    fs.writeFileSync(outputPath, Buffer.from(Float32Array.from(values).buffer));
  }
}
console.log(JSON.stringify(times));
process.exit(0);
