package api_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// document is what the tests look at of an OpenAPI document.
type document struct {
	OpenAPI string `json:"openapi"`
	Info    struct {
		Title   string `json:"title"`
		Version string `json:"version"`
	} `json:"info"`
	Paths      map[string]map[string]operation `json:"paths"`
	Components struct {
		Schemas         map[string]json.RawMessage `json:"schemas"`
		SecuritySchemes map[string]struct {
			Type   string `json:"type"`
			Scheme string `json:"scheme"`
		} `json:"securitySchemes"`
	} `json:"components"`
}

type operation struct {
	OperationID string `json:"operationId"`
	Summary     string `json:"summary"`
	Description string `json:"description"`
	Parameters  []struct {
		Name     string         `json:"name"`
		In       string         `json:"in"`
		Required bool           `json:"required"`
		Schema   map[string]any `json:"schema"`
	} `json:"parameters"`
	RequestBody *struct {
		Content map[string]struct {
			Schema map[string]any `json:"schema"`
		} `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Description string `json:"description"`
		Content     map[string]struct {
			Schema map[string]any `json:"schema"`
		} `json:"content"`
	} `json:"responses"`
	Security []map[string][]string `json:"security"`
}

func openAPI(t *testing.T) (document, string) {
	t.Helper()
	b := setup(t)
	got := b.call(t, http.MethodGet, "/openapi.json", "")
	require.Equal(t, http.StatusOK, got.status)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	var doc document
	got.decode(t, &doc)
	return doc, got.body
}

func TestOpenAPIDocument(t *testing.T) {
	t.Parallel()
	doc, text := openAPI(t)
	assert.Equal(t, "3.1.0", doc.OpenAPI)
	assert.Equal(t, "refreshd", doc.Info.Title)
	assert.Equal(t, "1.2.3", doc.Info.Version)
	assert.Equal(t, "bearer", doc.Components.SecuritySchemes["key"].Scheme)

	var operations []string
	for path, item := range doc.Paths {
		for method, op := range item {
			operations = append(operations, strings.ToUpper(method)+" "+path)
			checkOperation(t, path, op)
		}
	}
	slices.Sort(operations)
	assert.Equal(t, []string{
		"DELETE /v1/credentials/{id}", "DELETE /v1/keys/{key}", "DELETE /v1/subscriptions/{name}",
		"GET /.well-known/jwks.json", "GET /.well-known/ssf-configuration",
		"GET /healthz", "GET /readyz", "GET /v1/credentials", "GET /v1/credentials/{id}", "GET /v1/credentials/{id}/token",
		"GET /v1/credentials/{id}/user-data",
		"GET /v1/events", "GET /v1/keys", "GET /v1/providers", "GET /v1/signals/keys", "GET /v1/status",
		"GET /v1/subscriptions", "GET /v1/subscriptions/{name}", "GET /v1/subscriptions/{name}/deliveries",
		"POST /v1/credentials/{id}/logout", "POST /v1/credentials/{id}/pause", "POST /v1/credentials/{id}/refresh",
		"POST /v1/credentials/{id}/resume", "POST /v1/credentials/{id}/touch", "POST /v1/events/tickets", "POST /v1/keys",
		"POST /v1/pause", "POST /v1/providers/{name}/pause", "POST /v1/providers/{name}/resume", "POST /v1/resume",
		"POST /v1/signals/keys", "POST /v1/signals/verify",
		"POST /v1/subscriptions", "POST /v1/subscriptions/{name}/enable", "POST /v1/subscriptions/{name}/poll", "POST /v1/subscriptions/{name}/replay",
		"POST /v1/subscriptions/{name}/secret", "POST /v1/subscriptions/{name}/test", "POST /v1/touches",
		"PUT /v1/credentials/{id}", "PUT /v1/credentials/{id}/presence", "PUT /v1/subscriptions/{name}",
	}, operations)

	for _, ref := range regexp.MustCompile(`"\$ref":"([^"]+)"`).FindAllStringSubmatch(text, -1) {
		name, ok := strings.CutPrefix(ref[1], "#/components/schemas/")
		require.True(t, ok, ref[1])
		assert.Contains(t, doc.Components.Schemas, name)
	}
	for name := range doc.Components.Schemas {
		assert.Contains(t, text, `"$ref":"#/components/schemas/`+name+`"`, "an unused schema")
	}
}

// checkOperation checks what every operation has to tell.
func checkOperation(t *testing.T, path string, op operation) {
	t.Helper()
	assert.NotEmpty(t, op.OperationID, path)
	assert.NotEmpty(t, op.Summary, path)
	assert.NotEmpty(t, op.Description, path)
	problems := 0
	for status, response := range op.Responses {
		assert.NotEmpty(t, response.Description, path)
		if problem, ok := response.Content["application/problem+json"]; ok {
			problems++
			assert.Equal(t, "#/components/schemas/Problem", problem.Schema["$ref"], "%s %s", path, status)
		}
	}
	assert.Positive(t, problems, "%s tells of no error", path)
	for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
		assert.True(t, slices.ContainsFunc(op.Parameters, func(p struct {
			Name     string         `json:"name"`
			In       string         `json:"in"`
			Required bool           `json:"required"`
			Schema   map[string]any `json:"schema"`
		},
		) bool {
			return p.In == "path" && p.Name == name[1] && p.Required
		}), "%s: parameter %s", path, name[1])
	}
	if path == "/healthz" || path == "/readyz" || strings.HasPrefix(path, "/.well-known/") {
		assert.Empty(t, op.Security, path)
		return
	}
	require.NotEmpty(t, op.Security, path)
	for i, requirement := range op.Security {
		if path == "/v1/events" && i == len(op.Security)-1 {
			assert.Contains(t, requirement, "ticket", path)
			continue
		}
		assert.Contains(t, requirement, "key", path)
	}
	assert.Contains(t, op.Responses, "401", path)
	assert.Contains(t, op.Responses, "403", path)
}
