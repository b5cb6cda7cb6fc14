// How @hey-api/openapi-ts makes the client: with `.ts` in its imports, so that Node runs it as it is.
export default {
  input: process.env.BE8_DOCUMENT,
  output: { path: 'client', module: { extension: '.ts' } },
  plugins: ['@hey-api/client-fetch', '@hey-api/sdk', '@hey-api/typescript'],
};
