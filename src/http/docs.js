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
});
