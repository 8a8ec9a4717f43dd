// The newest @azure/storage-blob and @azure/storage-file-share for Node.
//   node node.mjs VALUES.json
import assert from "node:assert/strict";
import { randomBytes, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import {
  BlobServiceClient, BlobSASPermissions, ContainerClient, BlobClient, StorageSharedKeyCredential,
  generateBlobSASQueryParameters,
} from "@azure/storage-blob";
import {
  FileSASPermissions, ShareFileClient, ShareServiceClient, StorageSharedKeyCredential as ShareKey,
  generateFileSASQueryParameters,
} from "@azure/storage-file-share";

const given = JSON.parse(readFileSync(process.argv[2]));
const key = new StorageSharedKeyCredential(given.account, given.key);
const shareKey = new ShareKey(given.account, given.key);
const blobs = new BlobServiceClient(given.blob, key);
const shares = new ShareServiceClient(given.file, shareKey);
const soon = () => new Date(Date.now() + 3600e3);
const id = (letter) => letter + randomUUID().replaceAll("-", "").slice(0, 12);

async function all(pages) {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
}

async function container() {
  const client = blobs.getContainerClient(id("c"));
  await client.create();
  return client;
}

async function refused(promise, ...codes) {
  await assert.rejects(promise, (error) => {
    assert.ok(codes.includes(error.code ?? error.details?.errorCode), `${error.code} ${error.message}`);
    return true;
  });
}

const checks = {
  async blobsUpAndDown() {
    const home = await container();
    for (const size of [0, 1, 4096, 9_000_001]) {
      const data = randomBytes(size);
      const blob = home.getBlockBlobClient(`n/${size} é+.bin`);
      await blob.uploadData(data, { blockSize: 1 << 20, maxSingleShotSize: 1 << 21, concurrency: 4, metadata: { k: "v" } });
      assert.ok(data.equals(size ? await blob.downloadToBuffer() : Buffer.alloc(0)), String(size));
      assert.equal((await blob.getProperties()).contentLength, size);
    }
    assert.equal((await all(home.listBlobsFlat())).length, 4);
    const top = await all(home.listBlobsByHierarchy("/"));
    assert.deepEqual(top.map((one) => [one.kind, one.name]), [["prefix", "n/"]]);
    const pages = await all(home.listBlobsFlat().byPage({ maxPageSize: 3 }));
    assert.deepEqual(pages.map((page) => page.segment.blobItems.length), [3, 1]);
    await refused(home.getBlobClient("none").getProperties(), "BlobNotFound", "RestError", 404);
    await refused(
      home.getBlockBlobClient("n/1 é+.bin").upload("x", 1, { conditions: { ifNoneMatch: "*" } }), "BlobAlreadyExists");
  },
  async appendAndPages() {
    const home = await container();
    const log = home.getAppendBlobClient("log");
    await log.create();
    await log.appendBlock("one\n", 4);
    await log.appendBlock("two\n", 4);
    assert.equal(String(await log.downloadToBuffer()), "one\ntwo\n");
    const disk = home.getPageBlobClient("disk");
    await disk.create(4096);
    await disk.uploadPages(Buffer.alloc(512, 1), 512, 512);
    // Its count is the distance from the first byte to the last.
    assert.deepEqual((await disk.getPageRanges(0, 4096)).pageRange, [{ offset: 512, count: 511 }]);
  },
  async snapshotsLeasesCopies() {
    const home = await container();
    const blob = home.getBlockBlobClient("b");
    await blob.upload("before", 6);
    const { snapshot } = await blob.createSnapshot();
    await blob.upload("after", 5);
    assert.equal(String(await blob.withSnapshot(snapshot).downloadToBuffer()), "before");
    const lease = blob.getBlobLeaseClient();
    await lease.acquireLease(15);
    await refused(blob.upload("no", 2), "LeaseIdMissing");
    await lease.releaseLease();
    const copy = home.getBlockBlobClient("copy");
    const poller = await copy.beginCopyFromURL(blob.url);
    assert.equal((await poller.pollUntilDone()).copyStatus, "success");
    await copy.setAccessTier("Cool");
    assert.equal((await copy.getProperties()).accessTier, "Cool");
  },
  async tagsAndBatch() {
    const home = await container();
    const mark = randomUUID();
    const names = ["1", "2", "3"];
    for (const name of names) await home.getBlockBlobClient(name).upload("x", 1, { tags: { mark } });
    assert.deepEqual((await home.getBlobClient("1").getTags()).tags, { mark });
    assert.equal((await all(blobs.findBlobsByTags(`mark='${mark}'`))).length, 3);
    const answer = await blobs.getBlobBatchClient().deleteBlobs(names.map((name) => home.getBlobClient(name)));
    assert.equal(answer.subResponsesSucceededCount, 3);
  },
  async blobSas() {
    const home = await container();
    const blob = home.getBlockBlobClient("d/a b");
    await blob.upload("shared", 6);
    const token = generateBlobSASQueryParameters(
      { containerName: home.containerName, blobName: "d/a b", permissions: BlobSASPermissions.parse("r"), expiresOn: soon() }, key);
    assert.equal(String(await new BlobClient(`${blob.url}?${token}`).downloadToBuffer()), "shared");
    await refused(new BlobClient(`${blob.url}?${token}`).delete(), "AuthorizationPermissionMismatch");
    const link = await home.generateSasUrl({ permissions: "l", expiresOn: soon() });
    assert.equal((await all(new ContainerClient(link).listBlobsFlat())).length, 1);
  },
  async files() {
    const home = shares.getShareClient(id("s"));
    await home.create();
    const folder = home.getDirectoryClient("d");
    await folder.create();
    for (const size of [0, 1, 9_000_001]) {
      const data = randomBytes(size);
      const file = folder.getFileClient(`${size} é.bin`);
      await file.uploadData(data);
      assert.ok(data.equals(size ? await file.downloadToBuffer() : Buffer.alloc(0)), String(size));
    }
    assert.deepEqual((await all(folder.listFilesAndDirectories())).map((one) => one.name).sort(),
      ["0 é.bin", "1 é.bin", "9000001 é.bin"]);
    let moved = home.rootDirectoryClient.getFileClient("moved");
    // By a URL with the account in its path this SDK renames to a URL without it, which no server could understand.
    if (given.proxied) ({ destinationFileClient: moved } = await folder.getFileClient("1 é.bin").rename("moved"));
    else await moved.uploadData(Buffer.from("1"));
    assert.equal((await moved.getProperties()).contentLength, 1);
    await moved.setMetadata({ k: "v" });
    assert.deepEqual((await moved.getProperties()).metadata, { k: "v" });
    const token = generateFileSASQueryParameters(
      { shareName: home.name, filePath: "moved", permissions: FileSASPermissions.parse("r"), expiresOn: soon() }, shareKey);
    assert.equal((await new ShareFileClient(`${moved.url}?${token}`).downloadToBuffer()).length, 1);
    const { snapshot } = await home.createSnapshot();
    await moved.delete();
    const kept = home.withSnapshot(snapshot).rootDirectoryClient.getFileClient("moved");
    assert.equal((await kept.getProperties()).contentLength, 1);
    await refused(home.delete(), "ShareHasSnapshots");
    await home.delete({ deleteSnapshots: "include" });
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
  } catch (error) {
    failed += 1;
    console.log("FAILED", name, String(error.stack).slice(0, 900));
  }
}
console.log(`${Object.keys(checks).length} checks, ${failed} failed`);
process.exit(failed ? 1 : 0);
