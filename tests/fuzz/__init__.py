"""Damages files in seeded ways and reads them as the suite does: read rightly, or refused in one sentence."""
