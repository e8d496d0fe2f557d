-- What is taken in is counted by the code that stores it (messages/admit.rs, asides.rs), each table in one place.
-- A trigger on an insert makes SQLite copy every page that the insert changes, to be able to undo that one
-- statement; that was a tenth of the work of taking in a mail. What goes is counted by triggers as before:
-- it goes in many ways.
DROP TRIGGER IF EXISTS text_added;
DROP TRIGGER IF EXISTS raw_mail_added;
DROP TRIGGER IF EXISTS hop_added;
