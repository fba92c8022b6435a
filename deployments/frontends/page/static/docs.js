// Shows the service's OpenAPI document; a file of its own, because the page's policy allows no script inside the page.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
