// What the other operations of a tag need stands first, the rest in the order of paths.
const FIRST = ['createAccount', 'startConversation', 'createGroup', 'increaseGroupVersion'];
const rank = (operation) => FIRST.includes(operation.getIn(['operation', 'operationId'])) ? 0 : 1;

// Starts Swagger UI on the document of the server that this page comes from.
window.ui = SwaggerUIBundle({
  dom_id: '#ui',
  url: '/openapi.json',
  // The badge of a validator on the internet.
  validatorUrl: null,
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  operationsSorter: (a, b) => rank(a) - rank(b) || a.get('path').localeCompare(b.get('path')),
});
