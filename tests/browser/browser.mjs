// Debian's Chromium, without anything that it does for people.
import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox', // Root has none.
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts it. Each of its contexts is a person of one's own, with an empty jar of cookies. */
export const launch = () =>
  chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: FLAGS });
