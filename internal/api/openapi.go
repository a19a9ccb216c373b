package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// describe returns huma's settings. It starts from nothing and not from huma's
// defaults: those add a documentation page that loads scripts from elsewhere,
// and a link to a schema in every answer.
func describe(version string) huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "refreshd",
				Version: version,
				Description: "Keeps stored credentials fresh, hands out valid access tokens, and tells when an authentication state changes.\n\n" +
					"Every call needs an API key as a bearer token. Scopes: token:read, credential:write, event:read, admin (which includes the others). " +
					"A key may be bound to a prefix of credential IDs, and to one user: what is another's does not exist for it.\n\n" +
					"Times are RFC 3339 in UTC. Errors are problems as in RFC 9457; their `code` is meant for programs.",
			},
			Tags: []*huma.Tag{
				{Name: tagCredentials, Description: "Stored credentials"},
				{Name: tagTokens, Description: "Access tokens that are valid now"},
				{Name: tagSessions, Description: "Sliding sessions and who uses them"},
				{Name: tagPauses, Description: "What is held back"},
				{Name: tagEvents, Description: "What changed"},
				{Name: tagSignals, Description: "Security event tokens for receivers of OpenID Shared Signals"},
				{Name: tagSubscriptions, Description: "Who is told of events"},
				{Name: tagKeys, Description: "API keys"},
				{Name: tagService, Description: "How the service is"},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					securityKey:    {Type: "http", Scheme: "bearer", Description: "An API key, rdk_… The roles listed with an operation are the scopes of which a key needs one."},
					securityTicket: {Type: "apiKey", In: "query", Name: "ticket", Description: "A ticket, rdt_…, in place of a key, for a browser's EventSource, which cannot send one"},
				},
			},
		},
		Formats:       map[string]huma.Format{jsonType: huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: jsonType,
		Transformers:  []huma.Transformer{concealing},
	}
}

// The tags of operations.
const (
	tagCredentials   = "credentials"
	tagTokens        = "tokens"
	tagSessions      = "sessions"
	tagPauses        = "pauses"
	tagEvents        = "events"
	tagSignals       = "signals"
	tagKeys          = "keys"
	tagSubscriptions = "subscriptions"
	tagService       = "service"
)

// dropUnused takes huma's own error types out of the document: the API answers
// with [Problem] in their place.
func dropUnused(doc *huma.OpenAPI) {
	schemas := doc.Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
}
