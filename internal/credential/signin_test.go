package credential_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/refreshd/refreshd/internal/credential"
)

func TestUserDataEqual(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		a, b string
		want bool
	}{
		"the same":                   {`{"a":1}`, `{"a":1}`, true},
		"none":                       {``, ``, true},
		"none and null":              {``, `null`, false},
		"space":                      {`{"a": [1, 2]}`, "{\n\"a\":[1,2]}", true},
		"another order":              {`{"a":1,"b":{"c":2,"d":3}}`, `{"b":{"d":3,"c":2},"a":1}`, true},
		"a list's order":             {`[1,2]`, `[2,1]`, false},
		"escapes":                    {`"\u00e9"`, `"é"`, true},
		"another value":              {`{"a":1}`, `{"a":2}`, false},
		"one more":                   {`{"a":1}`, `{"a":1,"b":2}`, false},
		"a long number":              {`12345678901234567890`, `12345678901234567891`, false},
		"a number's spelling":        {`{"a":1}`, `{"a":1.0}`, true},
		"an exponent":                {`[1200, 0.05]`, `[1.2e3, 5E-2]`, true},
		"a long one's spelling":      {`12345678901234567890`, `1234567890123456789.0e1`, true},
		"a long one's last digit":    {`12345678901234567890.0`, `12345678901234567891`, false},
		"a fraction's last digit":    {`0.1`, `0.10000000000000000001`, false},
		"zeros":                      {`[0, 0, 0]`, `[-0, 0.00, 0e7]`, true},
		"a sign":                     {`1`, `-1`, false},
		"beyond a float":             {`1e400`, `10e399`, true},
		"beyond a float, another":    {`1e400`, `1e401`, false},
		"an exponent beyond all use": {`1e99999999999999999999`, `1e99999999999999999998`, false},
		"another depth":              {`{"a":[{"b":1}]}`, `{"a":[{"b":1.00}]}`, true},
		"a list that is shorter":     {`[1]`, `[1,1]`, false},
		"another name":               {`{"a":null}`, `{"b":null}`, false},
		"number and string":          {`1`, `"1"`, false},
		"something behind it":        {`{"a":1} x`, `{"a":1}`, false},
		"no JSON, the same":          {`<html>`, `<html>`, true},
		"no JSON":                    {`<html>`, `<HTML>`, false},
	} {
		a, b := credential.UserData(c.a), credential.UserData(c.b)
		assert.Equal(t, c.want, a.Equal(b), name)
		assert.Equal(t, c.want, b.Equal(a), name)
	}
}

func TestSignInIsNotShown(t *testing.T) {
	t.Parallel()
	h := credential.Held{SignIn: signIn("PW-canary"), UserData: credential.UserData(`"UD-canary"`)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		shown := fmt.Sprintf(verb, h.SignIn) + fmt.Sprintf(verb, h.UserData)
		assert.NotContains(t, shown, "canary", verb)
		assert.NotContains(t, shown, "alice@", verb)
	}
	assert.False(t, h.SignIn.IsZero())
	assert.True(t, credential.SignIn{}.IsZero())
}
