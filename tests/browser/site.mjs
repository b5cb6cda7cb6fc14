// The folder of a built client: what lies in `client`, and what a program makes better than a repository keeps it.
import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The sound: long enough for a browser to ask for parts of it. */
export const SOUND = { seconds: 60, rate: 44_100 };

/** One pixel. */
const ICON = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

/** Puts the client into a folder. */
export async function build(folder) {
  await cp(fileURLToPath(new URL('client', import.meta.url)), folder, { recursive: true });
  const files = [
    ['assets/sounds', 'received.wav', sound()],
    ['assets/img/icon', 'icon-96x96.png', Buffer.from(ICON, 'base64')],
  ];
  for (const [directory, name, content] of files) {
    await mkdir(join(folder, directory), { recursive: true });
    await writeFile(join(folder, directory, name), content);
  }
}

/** Silence of 16 bits on one channel, as a WAV. */
function sound() {
  const { seconds, rate } = SOUND;
  const length = seconds * rate * 2;
  const wav = Buffer.alloc(44 + length);
  wav.write('RIFF', 0);
  wav.writeUInt32LE(36 + length, 4);
  wav.write('WAVEfmt ', 8);
  // The length of this part, the format, channels, samples and bytes a second, bytes and bits a sample.
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(rate, 24);
  wav.writeUInt32LE(rate * 2, 28);
  wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34);
  wav.write('data', 36);
  wav.writeUInt32LE(length, 40);
  return wav;
}
