// Somebody who sits in front of Swagger UI: unfolds operations and presses "Execute".
import assert from 'node:assert/strict';

/** The operations of the document by their ids, each with its method and path. */
export function operations(document) {
  const all = new Map();
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      all.set(operation.operationId, { ...operation, method: method.toUpperCase(), path });
    }
  }
  return all;
}

export class Reader {
  /** Opens the page with an empty jar of cookies, or with the one of another reader. */
  static async open(browser, server, context) {
    const reader = new Reader();
    reader.context = context ?? (await browser.newContext({ viewport: { width: 1100, height: 900 } }));
    reader.page = await reader.context.newPage();
    reader.page.setDefaultTimeout(60_000);
    // What goes wrong in the page itself: a script that fails, or one that the policy forbids.
    reader.wrong = [];
    reader.page.on('pageerror', (error) => reader.wrong.push(String(error)));
    reader.page.on('console', (message) => {
      // Refusals are answers of the server; the browser reports them as errors.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
        reader.wrong.push(message.text());
      }
    });
    await reader.page.goto(`${server.url}/docs`);
    await reader.page.locator('.opblock').first().waitFor();
    reader.operations = operations(await (await fetch(`${server.address}/openapi.json`)).json());
    return reader;
  }

  /** Folds all groups of operations: what is not there is not laid out again with each answer, which takes the page long. */
  async tidy() {
    await this.page.waitForFunction(() => {
      const open = document.querySelectorAll('.opblock-tag[data-is-open="true"]');
      // Again, if the page was not ready to be clicked.
      open.forEach((tag) => tag.click());
      return open.length === 0;
    });
  }

  /** Unfolds the group of an operation, or folds it. */
  async turn(id) {
    const tag = this.operations.get(id).tags[0].replaceAll(' ', '_');
    await this.page.locator(`#operations-tag-${tag}`).evaluate((heading) => heading.click());
  }

  block(id) {
    return this.page.locator(`.opblock[id$="-${id}"]`);
  }

  /** Unfolds an operation, presses "Execute", and returns what the browser got. */
  async send(id) {
    const operation = this.operations.get(id);
    assert.ok(operation, `the document has no operation ${id}`);
    const block = this.block(id);
    if ((await block.count()) === 0) {
      await this.turn(id);
    }
    await block.waitFor();
    if ((await block.locator('.opblock-body').count()) === 0) {
      await block.locator('.opblock-summary-control').click();
    }
    await block.locator('button.execute').waitFor();
    if ((await block.locator('button.btn-clear').count()) === 1) {
      // No earlier answer is taken for the one to come.
      await block.locator('button.btn-clear').click();
    }
    const path = new RegExp(`^${operation.path.replaceAll(/\{\w+\}/g, '[^/{}]+')}$`);
    const answered = this.page.waitForResponse(
      (answer) => answer.request().method() === operation.method && path.test(new URL(answer.url()).pathname),
    );
    await block.locator('button.execute').click();
    return answered;
  }

  /** Waits until the page shows the answer, and checks it against the document. */
  async shows(id, answer) {
    const block = this.block(id);
    const live = block.locator('.live-responses-table');
    await live.waitFor();
    const status = String(answer.status());
    assert.ok(status in this.operations.get(id).responses, `${id}: ${status} is not documented`);
    assert.match((await live.locator('.response-col_status').last().innerText()).trim(), new RegExp(`^${status}$`));
    return (await live.locator('.response-col_description').last().innerText()).trim();
  }

  /**
   * Executes an operation as its example stands. It is accepted, as the document says, and the page shows that. Then it is
   * folded again, after a picture if one is wanted.
   */
  async execute(id, picture) {
    const answer = await this.send(id);
    const shown = await this.shows(id, answer);
    assert.ok(answer.ok(), `${id}: ${answer.status()} ${await answer.text()}`);
    let body = await answer.text();
    if (answer.headers()['content-type'].startsWith('application/json')) {
      body = JSON.parse(body);
      assert.notEqual(body.valid, false, `${id}: ${JSON.stringify(body)}`);
      for (const name of Object.keys(body)) {
        assert.ok(shown.includes(`"${name}"`), `${id}: the page does not show ${name}:\n${shown}`);
      }
    }
    if (picture) {
      await this.picture(id, picture);
    }
    await this.block(id).locator('.opblock-summary-control').evaluate((control) => control.click());
    await this.turn(id);
    return body;
  }

  /** Enters a token in the dialog behind "Authorize". */
  async authorize(scheme, token) {
    await this.page.locator('button.authorize').click();
    const dialog = this.page.locator('.auth-container', { hasText: `${scheme} (` });
    await dialog.locator('input').fill(token);
    await dialog.locator('button.authorize').click();
    await this.page.locator('.auth-container button.btn-done').first().click();
  }

  /** A picture of an operation's answer, from the button to the end of the body. */
  async picture(id, path) {
    const block = this.block(id);
    const [top, bottom, scrolled] = await Promise.all([
      block.locator('.btn-group').boundingBox(),
      block.locator('.live-responses-table .highlight-code').first().boundingBox(),
      this.page.evaluate(() => window.scrollY),
    ]);
    const clip = { x: top.x, y: top.y + scrolled, width: top.width, height: bottom.y + bottom.height - top.y };
    await this.page.screenshot({ path, clip, fullPage: true });
  }
}
