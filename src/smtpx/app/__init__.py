"""What an application is built of (layer L6): places to store messages, passwords."""
