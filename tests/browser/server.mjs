// A be8 of a test's own: in a directory that goes with it, on a port that was free.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createWriteStream } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const PROGRAM = process.env.BE8 ?? 'target/debug/be8';

export class Server {
  /** Starts one with these settings, and with those that name a file of this content. */
  static async start(settings = {}, files = {}) {
    const server = new Server();
    // PostgreSQL runs as another user when root tests, who must get through.
    server.directory = await mkdtemp(join(tmpdir(), 'be8-browser-'));
    await chmod(server.directory, 0o711);
    server.port = await freePort();
    const scheme = 'tls-cert' in settings ? 'https' : 'http';
    // What browsers use, who take localhost for secure, and what Node uses, whose older versions may look for ::1 alone.
    server.url = `${scheme}://localhost:${server.port}`;
    server.address = `${scheme}://127.0.0.1:${server.port}`;
    server.settings = { ...settings };
    for (const [name, content] of Object.entries(files)) {
      server.settings[name] = join(server.directory, name);
      await writeFile(server.settings[name], content, { mode: 0o600 });
    }
    await server.launch();
    return server;
  }

  /** Starts the program on what it left. */
  async launch() {
    const settings = {
      listen: `127.0.0.1:${this.port}`,
      'public-url': this.url,
      'data-dir': join(this.directory, 'data'),
      ...this.settings,
    };
    const args = Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
    this.log = join(this.directory, 'log');
    // It ends with the test, also if that is killed.
    const command = ['--pdeathsig', 'TERM', PROGRAM, 'serve', ...args];
    this.process = spawn('setpriv', command, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.process.stderr.pipe(createWriteStream(this.log, { flags: 'a' }));
    this.ended = once(this.process, 'exit');
    while (!(await this.isReady())) {
      if (this.process.exitCode !== null || this.process.signalCode !== null) {
        throw new Error(`${PROGRAM} ended before it was ready: see ${this.log}`);
      }
      await sleep(50);
    }
  }

  /** Also by a certificate that nobody else would trust. */
  async isReady() {
    const ask = this.address.startsWith('https') ? https.get : http.get;
    try {
      const asked = ask(`${this.address}/readyz`, { rejectUnauthorized: false });
      const [answer] = await once(asked, 'response');
      answer.resume();
      return answer.statusCode === 200;
    } catch {
      return false;
    }
  }

  /** Ends the program and leaves what it has written. */
  async end() {
    this.process.kill('SIGTERM');
    await this.ended;
  }

  /** Ends the program and removes everything. */
  async remove() {
    await this.end();
    await rm(this.directory, { recursive: true, force: true });
  }
}

async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  await once(listener, 'close');
  return port;
}
