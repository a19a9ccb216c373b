package main

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/storage"
)

const (
	// hashCost is bcrypt's lowest, about a millisecond for a secret: every
	// token request pays it.
	hashCost = 4
	// refreshScope is the scope with which the library issues a refresh token.
	refreshScope = "offline"
)

// newProvider composes the library's own handlers over its own MemoryStore.
func newProvider(ctx context.Context, o options, base string) (fosite.OAuth2Provider, *storage.MemoryStore, error) {
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return nil, nil, fmt.Errorf("make the signing secret: %w", err)
	}
	config := &fosite.Config{
		AccessTokenLifespan: o.accessTTL,
		GlobalSecret:        secret,
		HashCost:            hashCost,
		RefreshTokenScopes:  []string{refreshScope},
		EnforcePKCE:         true,
		TokenURL:            base + pathToken,
		// Defaults that the library would otherwise write down at their first
		// use, in whichever request comes first.
		ScopeStrategy:            fosite.ExactScopeStrategy,
		AudienceMatchingStrategy: fosite.DefaultAudienceMatchingStrategy,
	}
	config.ClientSecretsHasher = &fosite.BCrypt{Config: config}
	store := storage.NewMemoryStore()
	for id, secret := range o.clients {
		hash, err := config.ClientSecretsHasher.Hash(ctx, []byte(secret))
		if err != nil {
			return nil, nil, fmt.Errorf("client %q: %w", id, err)
		}
		store.Clients[id] = &fosite.DefaultClient{
			ID:            id,
			Secret:        hash,
			RedirectURIs:  []string{o.redirect},
			GrantTypes:    grantTypes(),
			ResponseTypes: []string{"code"},
			Scopes:        scopes(),
		}
	}
	for i := range o.users {
		name := fmt.Sprintf("user-%d", i+1)
		store.Users[name] = storage.MemoryUserRelation{Username: name, Password: "password-of-" + name}
	}
	return compose.Compose(config, store, compose.NewOAuth2HMACStrategy(config),
		compose.OAuth2AuthorizeExplicitFactory,
		compose.OAuth2PKCEFactory,
		compose.OAuth2ResourceOwnerPasswordCredentialsFactory, //nolint:staticcheck // deprecated as unsafe for people; a test's first grant needs none
		compose.OAuth2ClientCredentialsGrantFactory,
		compose.OAuth2RefreshTokenGrantFactory,
		compose.OAuth2TokenRevocationFactory,
		compose.OAuth2TokenIntrospectionFactory,
	), store, nil
}

func grantTypes() []string {
	return []string{"authorization_code", "password", "client_credentials", "refresh_token"}
}

func scopes() []string { return []string{refreshScope, "read", "write"} }
